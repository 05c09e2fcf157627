// SPDX-License-Identifier: Apache-2.0

package compiletest

import (
	"encoding/binary"
	"slices"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// ResultOffset and StackOffset are where the programs of a test run find what a
// call has returned, and the stack pointer, in the context of its return; the
// latter also in a [Record].
const (
	ResultOffset = 8
	StackOffset  = 0
)

// NewReturning is New for hooks some of which wait for the call's return, which is
// of a type that the seed decides. Hooks leave out some of the fields, so that a
// site has room for what is returned.
func NewReturning(seed uint64, binaries ...string) *Source {
	s := New(seed, binaries...)
	s.Args, s.computed = nil, nil
	for i, f := range Fields() {
		if slices.Contains([]string{"path", "second", "address", "u64", "i32"}, f.Name) {
			s.Args = append(s.Args, policy.Arg{Index: uint32(i), Type: s.typeOf(f)})
		}
	}
	s.drawComputed(1)
	types := []policy.ArgType{
		policy.ArgInt8, policy.ArgInt16, policy.ArgInt32, policy.ArgInt64,
		policy.ArgUint8, policy.ArgUint16, policy.ArgUint32, policy.ArgUint64,
	}
	s.ReturnArg = &policy.Arg{Type: types[seed%uint64(len(types))]}
	if seed%4 == 3 {
		s.ReturnArg.Type = policy.ArgString
	}
	s.resultExpressions = s.expressions([]int{0})
	return s
}

// returnFilter draws a filter on what is returned.
func (s *Source) returnFilter() policy.ArgFilter {
	switch text := s.ReturnArg.Type.Text(); {
	case text && s.IntN(3) == 0:
		return s.searchFilter(0)
	case !text && s.IntN(3) == 0:
		return s.resultExpressions.filter([]int{0})
	}
	return s.argFilter(0, *s.ReturnArg)
}

// computedOfResult are all filters on what is computed from what is returned.
func (s *Source) computedOfResult() []policy.ArgFilter {
	switch {
	case s.ReturnArg == nil:
		return nil
	case s.ReturnArg.Type.Text():
		return []policy.ArgFilter{
			{Op: policy.OpSubString, Strings: []string{"x"}}, {Op: policy.OpSubStringIgnCase, Strings: []string{"x"}},
		}
	}
	return []policy.ArgFilter{s.resultExpressions.filter([]int{0})}
}

// returning makes most hooks of a source with a ReturnArg wait for the return.
func (s *Source) returning(h *policy.Hook) {
	if s.ReturnArg == nil || s.IntN(4) == 0 {
		return
	}
	h.Return, h.ReturnArg = true, s.ReturnArg
	for i := range h.Selectors {
		sel := &h.Selectors[i]
		for range s.IntN(3) {
			f := s.returnFilter()
			if f.Op == policy.OpMask || again(f.Op) && slices.ContainsFunc(sel.ReturnArgs, func(g policy.ArgFilter) bool { return g.Op == f.Op }) {
				continue // see selector
			}
			sel.ReturnArgs = append(sel.ReturnArgs, f)
		}
		switch s.IntN(4) {
		case 0:
			sel.ReturnActions = []policy.Action{{Kind: policy.Signal, Signal: harmless}}
		case 1:
			sel.ReturnActions = []policy.Action{{Kind: policy.NoPost}}
		}
	}
}

// Result is what a call has returned.
type Result struct {
	Word uint64
	// Text is what the word points to, where the source's calls return text.
	Text Text
}

// result draws one; the caller fills the pointer in.
func (s *Source) result() Result {
	if s.ReturnArg != nil && s.ReturnArg.Type == policy.ArgString {
		return Result{Text: s.text()}
	}
	return Result{Word: s.numbers[s.IntN(len(s.numbers))] + uint64(s.IntN(3)) - 1}
}

// value is what a program sees of it.
func (r *Result) value(read compile.Read) compile.Value {
	if read.Kind != bpf.WireReadKindREAD_INT {
		if r.Text.Unreadable || len(r.Text.String) > longest {
			return compile.Value{Unreadable: true}
		}
		return compile.Value{String: r.Text.String}
	}
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], r.Word)
	clear(word[read.Size:])
	return compile.Value{Number: widen(binary.LittleEndian.Uint64(word[:]), int(read.Size), read.Signed)}
}
