// SPDX-License-Identifier: Apache-2.0

// Package compiletest draws random policies and events for tests that hold two
// evaluations of the same rules against each other. What it draws is dense:
// values of filters and of events come from the same few, so that most filters
// hold now and then.
package compiletest

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// RecordSize is how long the records of [Fields] are: no test run of the kernel
// takes a longer one.
const RecordSize = 96

// Subsystem and Event name the tracepoint that [Fields] are of. It is none of
// the kernel's and no system call, but its pointers are to user memory.
const (
	Subsystem = "syscalls"
	Event     = "boltseal_test"
)

// dataOffset is where the characters of the one dynamic string are.
const dataOffset = 80

// Fields is every kind of field that a policy can read.
func Fields() []compile.Field {
	pointer := func(name string, offset int) compile.Field {
		return compile.Field{Name: name, Type: "const char *", Offset: offset, Size: 8}
	}
	integer := func(name, t string, offset, size int, signed bool) compile.Field {
		return compile.Field{Name: name, Type: t, Offset: offset, Size: size, Signed: signed}
	}
	return []compile.Field{
		pointer("path", 8),
		pointer("second", 16),
		{Name: "dynamic", Type: "char", Offset: 24, Size: 4, DataLoc: true, Array: -1},
		{Name: "inline", Type: "char", Offset: 64, Size: 8, Array: 8},
		{Name: "address", Type: "struct sockaddr *", Offset: 72, Size: 8},
		integer("i64", "long", 32, 8, true),
		integer("u64", "unsigned long", 40, 8, false),
		integer("i32", "int", 28, 4, true),
		integer("u32", "unsigned int", 48, 4, false),
		integer("i16", "short", 52, 2, true),
		integer("u16", "unsigned short", 54, 2, false),
		integer("i8", "s8", 56, 1, true),
		integer("u8", "u8", 57, 1, false),
		// An int that the entry of a call stores in a whole word.
		integer("wide", "int", 8*11, 8, true),
	}
}

// Workloads is how many workloads selectors are for, besides all.
const Workloads = 3

// Source draws values, policies and events. Not safe for concurrent use.
type Source struct {
	*rand.Rand

	// Paths are what the executed file can be.
	Paths []string
	// Args is what hooks read: never more than one site can.
	Args []policy.Arg
	// ReturnArg is what calls return; nil where hooks do not wait for that.
	ReturnArg *policy.Arg
	// Process is what the current process is: what filters on it compare with.
	Process Process
	// Files are the modes of the inodes of the process's descriptors, by number.
	Files map[uint32]uint32
	// Data is what paths lead to, nil where hooks have none.
	Data    *Data
	process []processRead
	strings []string
	numbers []uint64
	// searched is the argument that filters search.
	searched int
	computed []computed
	// resultExpressions is on what calls return.
	resultExpressions computed
}

// New makes a source whose draws depend on the seed alone. binaries are paths
// that policies may name besides ones that nothing has.
func New(seed uint64, binaries ...string) *Source {
	s := &Source{Rand: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // a seed has to give the same policies again
	s.Paths = append(slices.Clone(binaries), "/usr/bin/true", "/no/such/file")
	for range 6 {
		s.strings = append(s.strings, s.fresh(s.length()))
	}
	for range 6 {
		// Strings that have a part in common with another one.
		base := s.strings[s.IntN(len(s.strings))]
		part := base[:s.IntN(len(base)+1)]
		s.strings = append(s.strings, clip(part+s.fresh(s.IntN(20))), clip(s.fresh(s.IntN(20))+base[len(part):]))
	}
	s.strings = append(s.strings, "")
	for range 6 {
		s.numbers = append(s.numbers, s.Uint64()>>s.IntN(64))
	}
	for _, bits := range []int{7, 8, 15, 16, 31, 32, 63} {
		n := uint64(1) << bits
		s.numbers = append(s.numbers, n-1, n, -n)
	}
	s.numbers = append(s.numbers, 0, 1, math.MaxUint64)
	s.Process = Process{PID: 100, NamespacePID: 7}
	for i := range s.Process.Namespaces {
		s.Process.Namespaces[i] = uint32(4026531840 + i)
	}
	s.Process.Capabilities = [3]uint64{1<<41 - 1, 0, 0xa80425fb}
	s.Process.NamespaceChanges, s.Process.CapabilityChanges = 1<<policy.NamespaceNet, [3]uint64{0x55, 0, 0x2000}
	s.drawArgs()
	s.drawProcess()
	return s
}

// drawArgs draws as what hooks read the fields.
func (s *Source) drawArgs() {
	fields := Fields()
	left := integersLeft
	for _, index := range s.Perm(len(fields)) {
		arg := policy.Arg{Index: uint32(index), Type: s.typeOf(fields[index])}
		if arg.Type.Integer() {
			if left == 0 {
				continue
			}
			left--
		}
		s.Args = append(s.Args, arg)
	}
	s.drawComputed(2)
}

const longest = int(bpf.WireLimitsSTRING_MAX) - 1

func clip(s string) string { return s[:min(len(s), longest)] }

// length draws the length of a string, with those where something changes.
func (s *Source) length() int {
	edges := []int{0, 1, 7, 8, 9, 15, 16, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 1024, longest - 1, longest}
	switch s.IntN(4) {
	case 0:
		return edges[s.IntN(len(edges))]
	case 1:
		return s.IntN(longest + 1)
	}
	return s.IntN(80)
}

// fresh is a string of n bytes, none of them NUL.
func (s *Source) fresh(n int) string {
	b := make([]byte, n)
	alphabet := 1 + s.IntN(255)
	for i := range b {
		b[i] = byte(1 + s.IntN(alphabet))
	}
	return string(b)
}

// Hook draws a hook of a policy with n selectors.
func (s *Source) Hook(n int) policy.Hook {
	t := policy.Hook{Section: policy.Tracepoints, Subsystem: Subsystem, Event: Event}
	for range 1 + s.IntN(5) {
		t.Args = append(t.Args, s.Args[s.IntN(len(s.Args))])
	}
	s.addOperands(&t)
	for range n {
		t.Selectors = append(t.Selectors, s.selector(t.Args))
	}
	s.returning(&t)
	return t
}

// typeOf draws a type that a policy can give a field.
func (s *Source) typeOf(f compile.Field) policy.ArgType {
	switch {
	case f.Offset == descriptorOffset && s.IntN(2) == 0:
		return policy.ArgFD
	case strings.Contains(f.Type, "sockaddr"):
		return []policy.ArgType{policy.ArgSockaddr, policy.ArgSockaddrUn}[s.IntN(2)]
	case strings.Contains(f.Type, "char"):
		return policy.ArgString
	}
	all := map[int][]policy.ArgType{
		1: {policy.ArgInt8, policy.ArgUint8},
		2: {policy.ArgInt16, policy.ArgUint16},
		4: {policy.ArgInt32, policy.ArgUint32},
		8: {policy.ArgInt64, policy.ArgUint64, policy.ArgInt32, policy.ArgUint32},
	}[f.Size]
	return all[s.IntN(len(all))]
}

func (s *Source) selector(args []policy.Arg) policy.Selector {
	var sel policy.Selector
	for range s.IntN(4) {
		arg := s.IntN(len(args))
		f := s.argFilter(arg, args[arg])
		if again(f.Op) && slices.ContainsFunc(sel.Args, func(g policy.ArgFilter) bool { return g.Op == f.Op }) {
			continue // a second one may need a read more than there is room for
		}
		sel.Args = append(sel.Args, f)
	}
	if s.Data == nil {
		s.subjectFilters(&sel)
	}
	s.computedFilter(&sel, args)
	switch s.IntN(4) {
	case 0:
		sel.Actions = []policy.Action{{Kind: policy.NoPost}}
	case 1:
		// Without effect on a process that does not ask for it.
		sel.Actions = []policy.Action{{Kind: policy.Signal, Signal: harmless}}
	case 2:
		sel.Actions = []policy.Action{{Kind: policy.Signal, Signal: harmless}, {Kind: policy.NoPost}}
	default:
		sel.Actions = []policy.Action{{Kind: policy.Post}}
	}
	if s.IntN(8) == 0 {
		// The agent is told of it whether or not it is posted.
		sel.Actions = append(sel.Actions, policy.Action{Kind: policy.DNSLookup, Target: "example.org"})
	}
	return sel
}

// subjectFilters draws filters on what is the same for all events.
func (s *Source) subjectFilters(sel *policy.Selector) {
	if s.IntN(5) == 0 {
		f := policy.BinaryFilter{Op: policy.OpIn, Values: s.some(2, func() string { return s.Paths[s.IntN(len(s.Paths))] })}
		switch s.IntN(3) {
		case 0:
			f.Op = policy.OpNotIn
		case 1:
			f.Op = []policy.Operator{policy.OpPrefix, policy.OpNotPrefix, policy.OpPostfix, policy.OpNotPostfix}[s.IntN(4)]
			path := s.Paths[s.IntN(len(s.Paths))]
			f.Values = []string{path[:1+s.IntN(len(path))]}
			if f.Op >= policy.OpPostfix {
				f.Values = []string{path[s.IntN(len(path)):]}
			}
		}
		f.FollowChildren = f.Op.Positive() == policy.OpEqual && s.IntN(2) == 0
		sel.Binaries = append(sel.Binaries, f)
	}
	s.processFilters(sel)
	if s.IntN(4) == 0 {
		sel.Workload = 1 + s.IntN(Workloads)
	}
}

// harmless is SIGWINCH, which is ignored unless asked for.
const harmless = 28

func (s *Source) argFilter(arg int, of policy.Arg) policy.ArgFilter {
	f, t := policy.ArgFilter{Arg: arg}, of.Type
	switch {
	case t == policy.ArgFD, t == policy.ArgFile && s.IntN(2) == 0:
		return s.fileTypeFilter(arg)
	case t.CapabilitySet():
		return s.setFilter(arg)
	case t == policy.ArgString && of == s.Args[s.searched] && s.IntN(2) == 0:
		return s.searchFilter(arg)
	case t == policy.ArgSockaddrUn && s.IntN(4) == 0:
		return s.familyFilter(arg)
	}
	if t.Text() {
		ops := []policy.Operator{
			policy.OpEqual, policy.OpNotEqual, policy.OpPrefix, policy.OpNotPrefix, policy.OpPostfix, policy.OpNotPostfix,
		}
		f.Op = ops[s.IntN(len(ops))]
		f.Strings = s.some(4, func() string { return s.affix(f.Op) })
		return f
	}
	if t == policy.ArgSockaddr {
		return s.addressFilter(arg)
	}
	if s.IntN(8) == 0 {
		return policy.ArgFilter{Arg: arg, Op: policy.OpMask, Masks: []uint64{s.number(t), 1 << s.IntN(8*t.Size())}}
	}
	ops := []policy.Operator{
		policy.OpEqual, policy.OpNotEqual, policy.OpGreaterThan, policy.OpLessThan, policy.OpInRange, policy.OpNotInRange,
	}
	f.Op = ops[s.IntN(len(ops))]
	f.Ranges = s.ranges(f.Op.Positive(), t)
	return f
}

// some draws 1 to n different values, sorted.
func (s *Source) some(n int, one func() string) []string {
	var all []string
	for range 1 + s.IntN(n) {
		all = append(all, one())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// affix draws a value that fits the operator: not empty, and not too long.
func (s *Source) affix(op policy.Operator) string {
	for {
		v := s.strings[s.IntN(len(s.strings))]
		switch op.Positive() {
		case policy.OpPrefix:
			v = v[:min(len(v), s.cut(int(bpf.WireLimitsPREFIX_MAX)))]
		case policy.OpPostfix:
			v = v[len(v)-min(len(v), s.cut(int(bpf.WireLimitsPOSTFIX_MAX))):]
		}
		if v != "" {
			return v
		}
	}
}

// cut draws the length of an affix.
func (s *Source) cut(most int) int {
	if s.IntN(4) == 0 {
		return most
	}
	return 1 + s.IntN(min(most, 1+s.IntN(most)))
}

// ranges draws intervals as package policy makes them: sorted by the order of
// the type, and merged unless they are single values.
func (s *Source) ranges(op policy.Operator, t policy.ArgType) []policy.Range {
	limits := t.Limits()
	less := func(a, b uint64) bool { return a < b }
	if t.Signed() {
		less = func(a, b uint64) bool { return int64(a) < int64(b) }
	}
	switch v := s.number(t); op {
	case policy.OpGreaterThan:
		if v == limits.Hi {
			return nil
		}
		return []policy.Range{{Lo: v + 1, Hi: limits.Hi}}
	case policy.OpLessThan:
		if v == limits.Lo {
			return nil
		}
		return []policy.Range{{Lo: limits.Lo, Hi: v - 1}}
	}
	ends := []uint64{}
	for range 2 * (1 + s.IntN(4)) {
		ends = append(ends, s.number(t))
	}
	slices.SortFunc(ends, func(a, b uint64) int {
		switch {
		case less(a, b):
			return -1
		case less(b, a):
			return 1
		}
		return 0
	})
	ends = slices.Compact(ends)
	var out []policy.Range
	if op == policy.OpEqual {
		for _, v := range ends {
			out = append(out, policy.Range{Lo: v, Hi: v})
		}
		return out
	}
	for i := 0; i+1 < len(ends); i += 2 {
		if n := len(out); n > 0 && out[n-1].Hi+1 == ends[i] {
			out[n-1].Hi = ends[i+1]
			continue
		}
		out = append(out, policy.Range{Lo: ends[i], Hi: ends[i+1]})
	}
	if len(out) == 0 {
		out = append(out, policy.Range{Lo: ends[0], Hi: ends[0]})
	}
	return out
}

// number draws a value of a type, as policies hold it.
func (s *Source) number(t policy.ArgType) uint64 {
	return widen(s.numbers[s.IntN(len(s.numbers))]+uint64(s.IntN(3))-1, t.Size(), t.Signed())
}

func widen(v uint64, size int, signed bool) uint64 { return widenBits(v, 8*size, signed) }
