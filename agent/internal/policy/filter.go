// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// MaxValues is how many values one filter may have.
	MaxValues = 100_000

	maxFilters  = 5
	maxBinaries = 1
	maxActions  = 3
	maxSignal   = 64
)

// hook is what the selectors of a hook are decoded against.
type hook struct {
	*decoder
	args []Arg
	// argsOK is false when the arguments have faults: then it is not the
	// filters' fault that they name none.
	argsOK bool
}

func (h hook) selector(v value) Selector {
	var s Selector
	h.object(v, shape{
		known: map[string]func(value){
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
			"matchActions": func(v value) {
				h.list(v, maxActions, func(item value) { s.Actions = append(s.Actions, h.action(item)) })
			},
		},
		later: []string{
			"label", "macros", "matchCapabilities", "matchCapabilityChanges", "matchData", "matchNamespaceChanges",
			"matchNamespaces", "matchPIDs", "matchParentBinaries", "matchReturnActions", "matchReturnArgs",
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
	var opOK, valuesOK bool
	if operator.node != nil {
		f.Op, opOK = h.argOperator(operator)
	}
	var items []value
	if values.node != nil {
		valuesOK = h.list(values, MaxValues, func(item value) {
			s, ok := h.text(item)
			if ok {
				f.Values = append(f.Values, s)
				items = append(items, item)
			}
		}) && len(items) == len(values.node.Content)
	}
	var argOK bool
	f.Arg, argOK = h.argPosition(v, index, positions)
	switch {
	case opOK && (values.node == nil || valuesOK && len(items) == 0):
		h.fault(v, "%s needs at least one value", f.Op)
		return f, false
	case !opOK || !valuesOK || !argOK:
		return f, false
	}
	sound := true
	f.resolve(h.args[f.Arg].Type, func(i int, reason string) {
		sound = false
		at := operator
		if i >= 0 {
			at = items[i]
		}
		h.fault(at, "%s", reason)
	})
	return f, sound
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
	at := slices.IndexFunc(h.args, func(a Arg) bool { return int64(a.Index) == want })
	switch {
	case at >= 0:
		return at, true
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
	switch name {
	case "GT":
		return OpGreaterThan, true
	case "LT":
		return OpLessThan, true
	case "Mask", "SPort", "NotSPort", "SPortPriv", "NotSPortPriv", "NotSportPriv", "DPort", "NotDPort", "DPortPriv",
		"NotDPortPriv", "SAddr", "NotSAddr", "DAddr", "NotDAddr", "Protocol", "Family", "State", "InMap", "NotInMap",
		"CapabilitiesGained", "SubString", "SubStringIgnCase", "CelExpr", "FileType", "NotFileType":
		h.unsupported(v, "operator "+name+": ")
		return 0, false
	}
	for op := OpEqual; op <= OpNotInRange; op++ {
		if op.String() == name {
			return op, true
		}
	}
	h.fault(v, "unknown operator %s", quote(name))
	return 0, false
}

func (h hook) binaryFilter(v value) BinaryFilter {
	var f BinaryFilter
	var values value
	h.object(v, shape{
		known: map[string]func(value){
			"operator": func(v value) { f.Op = h.binaryOperator(v) },
			"values":   func(v value) { values = v },
			"followChildren": func(v value) {
				if h.boolean(v) {
					h.unsupported(v, "")
				}
			},
		},
		required: []string{"operator", "values"},
	})
	if f.Op == 0 || values.node == nil {
		return f
	}
	if h.list(values, MaxValues, func(item value) {
		if s, ok := h.text(item); ok {
			f.Values = append(f.Values, h.binaryPath(item, f.Op, s))
		}
	}) && len(values.node.Content) == 0 {
		h.fault(values, "%s needs at least one value", f.Op)
	}
	slices.Sort(f.Values)
	f.Values = slices.Compact(f.Values)
	return f
}

func (h hook) binaryOperator(v value) Operator {
	name, ok := h.text(v)
	if !ok {
		return 0
	}
	for _, op := range []Operator{OpIn, OpNotIn, OpPrefix, OpNotPrefix, OpPostfix, OpNotPostfix} {
		if op.String() == name {
			return op
		}
	}
	h.fault(v, "unknown operator %s; there are In, NotIn, Prefix, NotPrefix, Postfix, NotPostfix", quote(name))
	return 0
}

func (h hook) binaryPath(v value, op Operator, s string) string {
	s, reason := typedString(op, s)
	switch {
	case reason != "":
		h.fault(v, "%s", reason)
	case op.Positive() != OpEqual:
	case !strings.HasPrefix(s, "/"):
		h.fault(v, "%s is no absolute path", quote(s))
	case path.Clean(s) != s:
		h.warn(v, "%s never matches, as no binary has this path; %s may", quote(s), quote(path.Clean(s)))
	}
	return s
}

func (h hook) action(v value) Action {
	var a Action
	var name string
	var sig value
	h.object(v, shape{
		known: map[string]func(value){
			"action": func(v value) { a.Kind, name = h.actionKind(v) },
			"argSig": func(v value) { sig = v },
		},
		later: []string{
			"argError", "argFd", "argFqdn", "argIndex", "argName", "argNewAddr", "argNewOffset", "argNewSymbol",
			"argRegs", "argSock", "argUrl", "argValue", "imaHash", "kernelStackTrace", "rateLimit", "rateLimitScope",
			"userStackTrace",
		},
		required: []string{"action"},
	})
	switch {
	case a.Kind == Signal && sig.node == nil:
		h.fault(v, "Signal needs argSig, 1 to %d", maxSignal)
	case a.Kind == Signal:
		n, _ := h.integer(sig, 1, maxSignal)
		a.Signal = uint8(n)
	case a.Kind != 0 && sig.node != nil && !isDefault(sig.node):
		h.fault(sig, "%s takes no signal; Signal does", name)
	}
	return a
}

// actionKind knows the actions in any case, as the reference's agent does.
func (h hook) actionKind(v value) (ActionKind, string) {
	name, ok := h.text(v)
	if !ok {
		return 0, ""
	}
	for k := Post; k <= Signal; k++ {
		if strings.EqualFold(name, k.String()) {
			return k, k.String()
		}
	}
	for _, known := range []string{
		"Override", "GetUrl", "DnsLookup", "TrackSock", "UntrackSock", "NotifyEnforcer", "CleanupEnforcerNotification", "Set",
	} {
		if strings.EqualFold(name, known) {
			h.unsupported(v, "action "+known+": ")
			return 0, ""
		}
	}
	for _, gone := range []string{"FollowFD", "UnfollowFD", "CopyFD"} {
		if strings.EqualFold(name, gone) {
			h.fault(v, "action %s was withdrawn from the language", gone)
			return 0, ""
		}
	}
	h.fault(v, "unknown action %s", quote(name))
	return 0, ""
}
