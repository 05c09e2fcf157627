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
	args    []Arg
	// argsOK is false when the arguments have faults: then it is not the
	// filters' fault that they name none.
	argsOK bool
	// returns: events wait for the function's return; returnArg is what it returns.
	returns   bool
	returnArg *Arg
	// returning: what is decoded is about the return.
	returning bool
}

func (h hook) selector(v value) Selector {
	var s Selector
	known := map[string]func(value){
		"matchArgs": func(v value) {
			h.list(v, maxFilters, func(item value) {
				if f, ok := h.argFilter(item); ok {
					s.Args = append(s.Args, f)
				}
			})
		},
		"matchBinaries": func(v value) {
			h.list(v, maxBinaries, func(item value) { s.Binaries = append(s.Binaries, h.binaryFilter(item)) })
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
		"matchActions": func(v value) {
			h.list(v, maxActions, func(item value) { s.Actions = append(s.Actions, h.action(item)) })
		},
	}
	h.returnKeys(&s, known)
	h.object(v, shape{
		known: known,
		later: []string{
			"label", "macros", "matchCapabilityChanges", "matchData", "matchNamespaceChanges", "matchParentBinaries",
		},
		laterObjects: []string{"matchWorkloads"},
	})
	if len(s.Actions) == 0 {
		s.Actions = []Action{{Kind: Post}}
	}
	return s
}

func (h hook) argFilter(v value) (ArgFilter, bool) {
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
	var argOK bool
	f.Arg, argOK = h.argPosition(v, index, positions)
	if !opOK || !valuesOK || !h.countFits(v, values, f) || !argOK {
		return f, false
	}
	sound := true
	for _, item := range items {
		if name, ok := strings.CutPrefix(item.node.Value, listPrefix); ok && h.args[f.Arg].Type == ArgSyscall64 {
			sound = h.expand(item, h.names.lists[name]) && sound
		}
	}
	if !sound {
		return f, false
	}
	f.resolve(h.args[f.Arg].Type, &h.names, func(i int, reason string) {
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
	case none && !f.Op.valueless():
		h.fault(v, "%s needs at least one value", f.Op)
		return false
	case !none && f.Op.valueless():
		h.fault(values, "%s takes no values: it is about the ports 0 to %d", f.Op, lastPrivileged)
		return false
	}
	return true
}

// argPosition is where the filter's argument stands in the hook's list. The
// item's args hold that position itself and win over its index, which is the
// index that an argument declares; the first of that index is meant. Both
// missing means index 0, the default of the language.
func (h hook) argPosition(v, index, positions value) (int, bool) {
	if positions.node != nil && !(positions.node.Kind == yaml.SequenceNode && len(positions.node.Content) == 0) {
		return h.listedPosition(positions)
	}
	var want int64
	if index.node != nil {
		var ok bool
		if want, ok = h.integer(index, 0, 1<<31-1); !ok {
			return 0, false
		}
	}
	at := slices.IndexFunc(h.args, func(a Arg) bool { return int64(a.Index) == want && !a.ReturnCopy })
	switch {
	case at >= 0:
		return at, true
	case slices.ContainsFunc(h.args, func(a Arg) bool { return int64(a.Index) == want }):
		h.fault(v, "argument %d %s", want, laterCopy)
		return 0, false
	case h.returning && want == 0 && len(h.args) > 0:
		return 0, true
	case !h.argsOK:
	case index.node == nil:
		h.fault(v, "needs index or args: no argument has index 0")
	default:
		h.fault(index, "no argument has index %d", want)
	}
	return 0, false
}

func (h hook) listedPosition(positions value) (int, bool) {
	var at int64
	var sound bool
	if !h.list(positions, maxArgs, func(item value) { at, sound = h.integer(item, 0, maxArgs-1) }) || !sound {
		return 0, false
	}
	switch n := len(positions.node.Content); {
	case n > 1:
		h.fault(positions, "names %d arguments; the operator compares one", n)
	case int(at) < len(h.args) && h.args[at].ReturnCopy:
		h.fault(positions, "the argument at position %d %s", at, laterCopy)
		return 0, false
	case int(at) < len(h.args):
		return int(at), true
	case h.argsOK:
		h.fault(positions, "there is no argument at position %d: the hook has %d", at, len(h.args))
	}
	return 0, false
}

func (h hook) argOperator(v value) (Operator, bool) {
	name, ok := h.text(v)
	if !ok {
		return 0, false
	}
	op, ok := argOperator(name)
	switch {
	case ok:
		return op, true
	case slices.Contains([]string{
		"CapabilitiesGained", "SubString", "SubStringIgnCase", "CelExpr", "FileType", "NotFileType",
	}, name):
		h.unsupported(v, "operator "+name+": ")
	default:
		h.fault(v, "unknown operator %s", quote(name))
	}
	return 0, false
}
