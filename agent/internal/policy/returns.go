// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"slices"
	"strings"
)

// ReturnValue is the Action.Sock that stands for what the function returns.
const ReturnValue = -1

// Returns tells whether the hook's events wait for the function's return.
func (h Hook) Returns() bool {
	return h.Return || slices.ContainsFunc(h.Args, func(a Arg) bool { return a.ReturnCopy })
}

// WithReturnType is a copy of the hook whose return value, where the policy gives
// it the type ArgAuto, has type t, and whose filters on it have their values typed.
// The error is as that of WithTypes.
func (h Hook) WithReturnType(t ArgType) (Hook, error) {
	if h.ReturnArg == nil || h.ReturnArg.Type != ArgAuto {
		return h, nil
	}
	if t == ArgAuto {
		return h, h.at.below(".returnArg.type").fault("cannot be told: name a type")
	}
	typed := *h.ReturnArg
	typed.Type = t
	h.ReturnArg = &typed
	h.Selectors = slices.Clone(h.Selectors)
	var faults []error
	for i := range h.Selectors {
		s := &h.Selectors[i]
		s.ReturnArgs = slices.Clone(s.ReturnArgs)
		for j := range s.ReturnArgs {
			faults = append(faults, s.ReturnArgs[j].typed([]ArgType{t})...)
		}
	}
	return h, errors.Join(faults...)
}

// laterCopy is why no filter is on an argument with returnCopy.
const laterCopy = "is read when the function returns, and matchArgs decides as it is entered: write the argument a second time without returnCopy"

// returns is what a hook says of the function's return. Its parts are decoded
// once the rest is known.
type returns struct {
	arg, action value
}

func (d *decoder) returnKeys(h *Hook, r *returns, known map[string]func(value)) {
	known["return"] = func(v value) { h.Return = d.boolean(v) }
	known["returnArg"] = func(v value) { r.arg = v }
	known["returnArgAction"] = func(v value) { r.action = v }
}

// returned decodes what the function returns, before the selectors that ask for it.
func (d *decoder) returned(v value, h *Hook, r returns) {
	switch {
	case !given(r.arg) && h.Return:
		d.fault(v, "return needs returnArg, the type of what the function returns")
	case !given(r.arg):
	case !h.Return:
		d.warn(r.arg, "does nothing without return: true")
	default:
		a := d.arg(r.arg, h, false)
		h.ReturnArg = &a
		d.returnType(r.arg, h, a.Type)
	}
}

// returnType refuses types that nothing is returned of.
func (d *decoder) returnType(v value, h *Hook, t ArgType) {
	switch {
	case t == ArgCharBuf:
		d.fault(v, "%s: nothing tells the length of what is returned; an argument with returnCopy has it", t)
	case t == ArgIovec:
		d.fault(v, "%s: nothing tells how many vectors are returned", t)
	case h.ReturnArg.ReturnCopy:
		d.fault(v, "returnCopy is for arguments")
	case h.ReturnArg.Resolve != "":
		d.fault(v, "resolve is for arguments and data: what is returned is read as it is")
	case h.Syscall && t != ArgAuto && !t.Integer() && t != ArgFD:
		d.fault(v, "%s: a system call returns a number or a descriptor", t)
	}
}

// returnAction adds what is done about the returned socket to the selectors.
func (d *decoder) returnAction(v value, h *Hook) {
	if !given(v) {
		return
	}
	name, ok := d.text(v)
	if !ok || strings.EqualFold(name, Post.String()) {
		return // as the language has it: an event is made anyway
	}
	for _, kind := range []ActionKind{TrackSock, UntrackSock} {
		switch {
		case !strings.EqualFold(name, kind.String()):
		case h.ReturnArg == nil:
			d.fault(v, "%s needs return and returnArg, the socket that it is about", kind)
			return
		case !holdsSock(h.ReturnArg.Type):
			d.fault(v, "%s needs a returnArg of type %s or %s", kind, ArgSock, ArgSocket)
			return
		default:
			for i := range h.Selectors {
				s := &h.Selectors[i]
				s.ReturnActions = append(s.ReturnActions, Action{Kind: kind, Sock: ReturnValue})
			}
			return
		}
	}
	d.fault(v, "unknown action %s; there are %s and %s", quote(name), TrackSock, UntrackSock)
}

// holdsSock tells whether a socket can be had from an argument of the type. That of
// ArgAuto is not known yet.
func holdsSock(t ArgType) bool { return t == ArgSock || t == ArgSocket || t == ArgAuto }

// returnCopy checks an argument that is read when the function returns.
func (d *decoder) returnCopy(v value, h *Hook, a Arg) {
	switch {
	case h.Section != Kprobes && h.Section != Fentries:
		d.fault(v, "%s have no return: returnCopy is for %s and %s", h.Section, Kprobes, Fentries)
	case a.Type != ArgString && a.Type != ArgCharBuf && a.Type != ArgInt32Array:
		d.fault(v, "%s does not change until the function returns: returnCopy is for %s, %s and %s", a.Type, ArgString, ArgCharBuf, ArgInt32Array)
	case a.MaxData:
		d.fault(v, "is for the first bytes, and maxData for more of what there is at the entry: leave one of them out")
	case a.Resolve != "":
		d.fault(v, "is for what the argument itself points to: leave resolve out")
	}
}

// returnKeys are those of a selector about the function's return.
func (h hook) returnKeys(s *Selector, known map[string]func(value)) {
	known["matchReturnArgs"] = func(v value) {
		after := h
		after.returning = true
		h.list(v, maxFilters, func(item value) {
			if f, ok := after.returnFilter(item); ok {
				s.ReturnArgs = append(s.ReturnArgs, f)
			}
		})
	}
	known["matchReturnActions"] = func(v value) {
		if len(v.node.Content) > 0 && !h.hasReturn(v) {
			return
		}
		after := h
		after.returning = true
		h.list(v, maxActions, func(item value) { s.ReturnActions = append(s.ReturnActions, after.action(item)) })
	}
}

// hasReturn tells whether the hook's events wait for a return, and says why not.
func (h hook) hasReturn(v value) bool {
	switch {
	case h.section != Kprobes && h.section != Fentries:
		h.fault(v, "%s have no return; %s and %s have", h.section, Kprobes, Fentries)
	case !h.returns:
		h.fault(v, "needs return: true and returnArg")
	default:
		return true
	}
	return false
}

// returnFilter is a filter on what the function returns: of this one value the
// index is that of returnArg, or 0.
func (h hook) returnFilter(v value) (ArgFilter, bool) {
	switch {
	case !h.hasReturn(v):
		return ArgFilter{}, false
	case len(h.result.args) > 0:
		return h.argFilter(v, h.result)
	case h.result.sound:
		h.fault(v, "needs return: true and returnArg")
	}
	return ArgFilter{}, false
}

// actionSock is the position of the argument that holds an action's socket.
func (h hook) actionSock(action, v value, kind ActionKind) int {
	if kind != TrackSock && kind != UntrackSock {
		if given(v) {
			h.fault(v, "%s takes no socket; %s and %s do", kind, TrackSock, UntrackSock)
		}
		return 0
	}
	if v.node == nil {
		return h.sockAt(action, kind, 0)
	}
	index, ok := h.integer(v, 0, 1<<31-1)
	if !ok {
		return 0
	}
	return h.sockAt(v, kind, index)
}

// sockAt is the position of the socket of an index.
func (h hook) sockAt(at value, kind ActionKind, index int64) int {
	on := h.args
	found := slices.IndexFunc(on.args, func(a Arg) bool { return int64(a.Index) == index })
	switch {
	case !on.sound:
	case found >= 0 && holdsSock(on.args[found].Type):
		return found
	case found >= 0:
		h.fault(at, "%s: argument %d is of type %s, not %s or %s", kind, index, on.args[found].Type, ArgSock, ArgSocket)
	case h.returning && h.returnsSock(index):
		return ReturnValue
	default:
		h.fault(at, "%s: no argument has index %d", kind, index)
	}
	return 0
}

// returnsSock tells whether a socket of an index is what the function returns.
func (h hook) returnsSock(index int64) bool {
	return slices.ContainsFunc(h.result.args, func(a Arg) bool { return int64(a.Index) == index && holdsSock(a.Type) })
}
