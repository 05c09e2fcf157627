// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// MaxValues is how many values one filter may have.
	MaxValues = 100_000

	maxFilters    = 5
	maxNamespaces = 10
	maxBinaries   = 1
	maxActions    = 3
)

// hook is what the selectors of a hook are decoded against.
type hook struct {
	*decoder
	section Section
	// call is the security hook of LSMHooks.
	call string
	// args and data are what matchArgs and matchData compare, result is what
	// matchReturnArgs do: nothing, where nobody asked what the function returns.
	args, data, result operands
	// returns: events wait for the function's return.
	returns bool
	// returning: what is decoded is about the return.
	returning bool
}

// operands are the arguments that a list of filters is about.
type operands struct {
	// what one of them is called.
	what string
	args []Arg
	// all is Hook.Args, and first the position of the first of them there.
	all   []Arg
	first int
	// sound is false when the arguments have faults: then it is not the filters'
	// fault that they name none.
	sound bool
}

func (h hook) selector(v value) Selector {
	var s Selector
	var data value
	if entries, ok := h.withMacros(v); ok {
		h.fields(v, entries, h.selectorShape(&s, &data))
	}
	if n := len(s.Args) + len(s.Data); n > maxFilters {
		h.fault(data, "matchArgs and matchData have %d filters together, more than %d", n, maxFilters)
	}
	if len(s.Actions) == 0 {
		s.Actions = []Action{{Kind: Post}}
	}
	return s
}

// selectorShape is the keys of a selector, and of a macro.
func (h hook) selectorShape(s *Selector, data *value) shape {
	known := map[string]func(value){
		"matchArgs": func(v value) { s.Args = h.argFilters(v, h.args) },
		"matchData": func(v value) { *data = v; s.Data = h.argFilters(v, h.data) },
		"matchBinaries": func(v value) {
			h.list(v, maxBinaries, func(item value) { s.Binaries = append(s.Binaries, h.binaryFilter(item)) })
		},
		"matchParentBinaries": func(v value) {
			h.list(v, maxBinaries, func(item value) { s.ParentBinaries = append(s.ParentBinaries, h.binaryFilter(item)) })
		},
		"matchPIDs": func(v value) {
			h.list(v, maxFilters, func(item value) { s.PIDs = append(s.PIDs, h.pidFilter(item)) })
		},
		"matchNamespaces": func(v value) {
			h.list(v, maxNamespaces, func(item value) { s.Namespaces = append(s.Namespaces, h.namespaceFilter(item)) })
		},
		"matchCapabilities": func(v value) {
			h.list(v, maxFilters, func(item value) { s.Capabilities = append(s.Capabilities, h.capabilityFilter(item)) })
		},
		"matchNamespaceChanges": func(v value) {
			h.list(v, maxFilters, func(item value) {
				s.NamespaceChanges = append(s.NamespaceChanges, h.namespaceChangeFilter(item))
			})
		},
		"matchCapabilityChanges": func(v value) {
			h.list(v, maxFilters, func(item value) {
				s.CapabilityChanges = append(s.CapabilityChanges, h.capabilityFilter(item))
			})
		},
		"matchWorkloads": func(v value) { s.Workload = h.workload(v) },
		"label":          func(v value) { s.Label = h.selectorLabel(v) },
		"matchActions": func(v value) {
			h.list(v, maxActions, func(item value) { s.Actions = append(s.Actions, h.action(item)) })
		},
	}
	h.returnKeys(s, known)
	return shape{known: known}
}

func (h hook) argFilters(v value, on operands) (filters []ArgFilter) {
	h.list(v, maxFilters, func(item value) {
		if f, ok := h.argFilter(item, on); ok {
			filters = append(filters, f)
		}
	})
	return filters
}

func (h hook) argFilter(v value, on operands) (ArgFilter, bool) {
	f := ArgFilter{at: v.position()}
	var index, positions, operator, values value
	h.object(v, shape{
		known: map[string]func(value){
			"index":    func(v value) { index = v },
			"args":     func(v value) { positions = v },
			"operator": func(v value) { operator = v },
			"values":   func(v value) { values = v },
		},
		required: []string{"operator"},
	})
	var opOK bool
	if operator.node != nil {
		f.Op, opOK = h.argOperator(operator)
	}
	items, valuesOK := h.filterTexts(values)
	for _, item := range items {
		f.Values = append(f.Values, item.node.Value)
	}
	argOK := h.argPositions(&f, v, index, positions, on)
	if !opOK || !valuesOK || !h.countFits(v, values, f) || !argOK {
		return f, false
	}
	sound, t := true, ArgAuto
	if f.Arg < len(on.args) {
		t = on.args[f.Arg].Type
	}
	f.Arg, f.Old = f.Arg+on.first, f.Old+on.first
	for _, item := range items {
		if name, ok := strings.CutPrefix(item.node.Value, listPrefix); ok && t == ArgSyscall64 {
			sound = h.expand(item, h.names.lists[name]) && sound
		}
	}
	if !sound {
		return f, false
	}
	f.resolveAll(argTypes(on.all), &h.names, func(i int, reason string) {
		sound = false
		at := operator
		if i >= 0 {
			at = items[i]
		}
		h.fault(at, "%s", reason)
	})
	return f, sound
}

// filterTexts are the values of a filter; none when the key is missing.
func (h hook) filterTexts(values value) (items []value, ok bool) {
	if values.node == nil {
		return nil, true
	}
	whole := h.list(values, MaxValues, func(item value) {
		if _, ok := h.text(item); ok {
			items = append(items, item)
		}
	})
	return items, whole && len(items) == len(values.node.Content)
}

// countFits tells whether the filter has values where its operator needs them.
func (h hook) countFits(v, values value, f ArgFilter) bool {
	switch none := len(f.Values) == 0; {
	case none && !f.Op.valueless() && f.Op != OpCapabilitiesGained:
		h.fault(v, "%s needs at least one value", f.Op)
		return false
	case !none && f.Op.valueless():
		h.fault(values, "%s takes no values: it is about the ports 0 to %d", f.Op, lastPrivileged)
		return false
	case len(f.Values) > f.Op.mostValues():
		h.fault(values, "has %d values; %s takes at most %d", len(f.Values), f.Op, f.Op.mostValues())
		return false
	case f.Op == OpCelExpr:
		return h.countExpressions(values, len(f.Values))
	}
	return true
}

func (h hook) countExpressions(values value, n int) bool {
	if h.expressions += n; h.expressions > maxPolicyExpressions {
		h.fault(values, "the policy has more than %d expressions", maxPolicyExpressions)
		return false
	}
	return true
}

// argPositions finds the arguments that a filter is about.
func (h hook) argPositions(f *ArgFilter, v, index, positions value, on operands) bool {
	listed := positions.node != nil && !(positions.node.Kind == yaml.SequenceNode && len(positions.node.Content) == 0)
	switch {
	case f.Op == OpCapabilitiesGained:
		if !listed {
			h.fault(v, "%s needs args: the positions of the new set and of the old one", f.Op)
			return false
		}
		at, ok := h.listedPositions(positions, 2, on)
		if ok {
			f.Arg, f.Old = at[0], at[1]
		}
		return ok
	case f.Op == OpCelExpr:
		return h.expressionArgs(f, v, index, positions, listed, on)
	case listed:
		at, ok := h.listedPositions(positions, 1, on)
		if ok {
			f.Arg = at[0]
		}
		return ok
	}
	var ok bool
	f.Arg, ok = h.argPosition(v, index, on)
	return ok
}

// expressionArgs looks at what an expression does not need: it names its arguments
// by itself.
func (h hook) expressionArgs(f *ArgFilter, v, index, positions value, listed bool, on operands) bool {
	switch {
	case len(on.all) == 0:
		if on.sound {
			h.fault(v, "%s needs a hook with arguments", f.Op)
		}
		return false
	case listed:
		_, ok := h.listedPositions(positions, 0, on)
		return ok
	case index.node != nil:
		_, ok := h.argPosition(v, index, on)
		return ok
	}
	return true
}

// argPosition is where the filter's argument stands in the hook's list, by the index
// that it declares; the first of that index is meant. The item's args hold the
// position itself, and win. Both missing means index 0, the default of the language.
func (h hook) argPosition(v, index value, on operands) (int, bool) {
	var want int64
	if index.node != nil {
		var ok bool
		if want, ok = h.integer(index, 0, 1<<31-1); !ok {
			return 0, false
		}
	}
	at := slices.IndexFunc(on.args, func(a Arg) bool { return int64(a.Index) == want && !a.ReturnCopy })
	switch {
	case at >= 0:
		return at, true
	case slices.ContainsFunc(on.args, func(a Arg) bool { return int64(a.Index) == want }):
		h.fault(v, "%s %d %s", on.what, want, laterCopy)
		return 0, false
	case h.returning && want == 0 && len(on.args) > 0:
		return 0, true
	case !on.sound:
	case index.node == nil:
		h.fault(v, "needs index or args: no %s has index 0", on.what)
	default:
		h.fault(index, "no %s has index %d", on.what, want)
	}
	return 0, false
}

// listedPositions are the positions of arguments that a filter names: so many, or
// with 0 any number.
func (h hook) listedPositions(positions value, want int, on operands) (at []int, ok bool) {
	sound := h.list(positions, maxArgs, func(item value) {
		i, ok := h.integer(item, 0, maxArgs-1)
		if !ok {
			return
		}
		at = append(at, int(i))
		switch missing := int(i) >= len(on.args); {
		case missing && on.sound:
			h.fault(positions, "there is no %s at position %d: the hook has %d", on.what, i, len(on.args))
		case !missing && on.args[i].ReturnCopy:
			h.fault(positions, "the %s at position %d %s", on.what, i, laterCopy)
			at = at[:len(at)-1]
		}
	})
	n := len(positions.node.Content)
	switch {
	case !sound || len(at) != n:
		return nil, false
	case want == 1 && n != want:
		h.fault(positions, "names %d arguments; the operator compares one", n)
		return nil, false
	case want != 0 && n != want:
		h.fault(positions, "names %d arguments; the operator compares %d", n, want)
		return nil, false
	}
	return at, !slices.ContainsFunc(at, func(i int) bool { return i >= len(on.args) })
}

func (h hook) argOperator(v value) (Operator, bool) {
	name, ok := h.text(v)
	if !ok {
		return 0, false
	}
	if op, ok := argOperator(name); ok {
		return op, true
	}
	h.fault(v, "unknown operator %s", quote(name))
	return 0, false
}
