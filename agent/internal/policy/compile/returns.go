// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/bpf"
)

// Result is what a function returns, as a hook looks at it.
type Result struct {
	// Read is a position in Hook.Reads.
	Read int
	Type policy.ArgType
	// Label is the policy's word for it.
	Label string
}

// Frame is how a site's program at the return of a call knows the call again.
type Frame struct {
	Kind bpf.WireCallFrame
	// StackOffset is where in the context the stack pointer is, where HasStack is set;
	// StackPopped is what it is higher by when the call has returned.
	HasStack    bool
	StackOffset uint16
	StackPopped uint8
}

// exits are the tracepoints at which the system calls of a hook return, joined with
// commas: empty where the kernel lacks one of them, or does not tell of calls of the
// other ABI there. Unlike return probes they are there for any number of calls.
func exits(calls []string, k Kernel) string {
	events := make([]string, 0, len(calls))
	for _, call := range calls {
		_, name, named := strings.Cut(call, "/")
		if !named {
			name = call
		}
		event := "sys_exit_" + strings.TrimPrefix(name, "sys_")
		if _, err := k.Tracepoint(syscalls, event); err != nil {
			return ""
		}
		events = append(events, event)
	}
	slices.Sort(events)
	return strings.Join(slices.Compact(events), ",")
}

// returning sets what a place has for the return of calls.
func (at *place) returning(calls []string, compat bool, k Kernel) {
	if at.Syscall && !compat {
		at.Exits = exits(calls, k)
	}
	if at.Exits != "" {
		at.ResultOffset = syscallExitResult
	}
	registers := k.Registers()
	at.Frame = Frame{Kind: bpf.WireCallFrameFRAME_CONTEXT}
	if !at.Kind.Trampoline() {
		at.Frame = Frame{Kind: bpf.WireCallFrameFRAME_STACK, HasStack: true, StackOffset: registers.Stack, StackPopped: registers.Popped}
	}
	if at.Syscall {
		at.Frame.Kind = bpf.WireCallFrameFRAME_SYSCALL
	}
}

// canReturn tells whether the return of a place's function can be seen.
func (at *place) canReturn(k Kernel) error {
	switch {
	case at.Exits == "" && at.Kind.Trampoline():
		return k.Can(CanFentry)
	case at.Exits == "":
		return k.Can(CanKprobe)
	}
	return nil
}

// compileReturn finds what the function returns.
func (h *Hook) compileReturn(path string, of policy.Hook, at *place, k Kernel) error {
	h.Returns = of.Returns()
	var faults faults
	if !h.Returns {
		return nil
	}
	if err := at.canReturn(k); err != nil {
		faults.add(path+".return", err)
		return faults.join()
	}
	h.Missed = h.Missed || at.Exits != "" && k.Misses(Tracepoint, true)
	if of.ReturnArg == nil {
		return nil
	}
	read, t, err := at.result(*of.ReturnArg)
	if err != nil {
		faults.add(path+".returnArg", err)
		return faults.join()
	}
	h.Result = &Result{Type: t, Label: of.ReturnArg.Label, Read: h.filterRead(read)}
	return nil
}

// result is how what is returned is read, and its type.
func (at *place) result(arg policy.Arg) (Read, policy.ArgType, error) {
	if at.returned.Known && at.returned.Void {
		return Read{}, arg.Type, fmt.Errorf("%s returns nothing", at.Site)
	}
	if arg.Type == policy.ArgAuto {
		switch {
		case at.Syscall:
			arg.Type = policy.ArgInt64
		case !at.returned.Known:
			return Read{}, arg.Type, errors.New("the kernel does not tell the type: name one")
		default:
			if arg.Type = at.returned.Result.auto(); arg.Type == policy.ArgAuto {
				return Read{}, arg.Type, errors.New("what is returned has no type of its own: name one")
			}
		}
	}
	read, err := wordRead(0, arg, uint16(bpf.WireReadSizeSIZE_UNKNOWN), at.Syscall)
	read.When = bpf.WireReadWhenREAD_RESULT
	return read, arg.Type, err
}

// copied is the read of a buffer, whose pointer is in a word, when the function
// returns.
func (at *place) copied(arg policy.Arg, word uint16) (Read, error) {
	size, err := at.number(arg)
	if err != nil {
		return Read{}, err
	}
	read, err := wordRead(word, arg, size, at.Syscall)
	read.When = bpf.WireReadWhenREAD_RETURNED
	return read, err
}

// addReturn adds to a rule what its selector asks for when the function returns.
func (r *Rule) addReturn(path string, s policy.Selector, hook *Hook) error {
	var faults faults
	if !hook.Returns {
		return nil
	}
	r.Returns = true
	c := conjunction{hook: hook}
	for i, f := range s.ReturnArgs {
		if err := c.add(f, hook.operands(true)); err != nil {
			faults.add(fmt.Sprintf("%s.matchReturnArgs[%d].operator", path, i), err)
		}
	}
	for i, a := range s.ReturnActions {
		if err := r.addReturnAction(a, hook); err != nil {
			faults.add(fmt.Sprintf("%s.matchReturnActions[%d]", path, i), err)
		}
	}
	if err := faults.join(); err != nil {
		return err
	}
	filters, possible := c.filters()
	if !possible {
		// What is done at the entry is done all the same.
		r.Returns, r.Post, r.ReturnSignal, r.TrackReturn = false, false, 0, Track{}
		return nil
	}
	r.Filters = append(r.Filters, filters...)
	return nil
}

func (r *Rule) addReturnAction(a policy.Action, hook *Hook) error {
	switch a.Kind {
	case policy.Sigkill, policy.Signal:
		return addSignal(&r.ReturnSignal, a)
	case policy.TrackSock, policy.UntrackSock:
		return r.TrackReturn.add(a, hook)
	case policy.Post:
		return r.addPost(a)
	case policy.GetURL, policy.DNSLookup:
		r.Remote = append(r.Remote, a)
	}
	return nil
}

// Track is what a rule does about the owner of a socket.
type Track struct {
	// Do is TRACK_NOT, or what is done, with TRACK_SOCKET where the read is of a
	// struct socket.
	Do bpf.WireTrack
	// Read is a position in Hook.Reads.
	Read int
}

// add notes an action.
func (t *Track) add(a policy.Action, hook *Hook) error {
	do := Track{Do: bpf.WireTrackTRACK_SOCK, Read: a.Sock}
	if a.Kind == policy.UntrackSock {
		do.Do = bpf.WireTrackUNTRACK_SOCK
	}
	if a.Sock == policy.ReturnValue {
		do.Read = hook.Result.Read
	}
	switch hook.Reads[do.Read].Kind {
	case bpf.WireReadKindREAD_SOCKET:
		do.Do |= bpf.WireTrackTRACK_SOCKET
	case bpf.WireReadKindREAD_SOCK:
	default:
		return fmt.Errorf("%s: its argument is no socket", a.Kind)
	}
	if t.Do != bpf.WireTrackTRACK_NOT && *t != do {
		return errSecond
	}
	*t = do
	return nil
}

// MatchesReturn tells whether what a function returns satisfies a rule whose entry
// filters Matches has found to hold, as Matches does.
func (r *Rule) MatchesReturn(hook *Hook, values []Value, enforce bool) bool {
	return r.matches(hook, values, enforce, true)
}
