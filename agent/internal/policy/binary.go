// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"path"
	"slices"
	"strings"
)

// BinaryFilter is one item of matchBinaries.
type BinaryFilter struct {
	// Op is OpIn, OpNotIn, or a form of prefix or postfix.
	Op Operator
	// Values are sorted and unique; absolute paths with OpIn and OpNotIn.
	Values []string
	// FollowChildren: what the binary's processes start counts as the binary. Only
	// with OpIn and OpNotIn.
	FollowChildren bool
}

func (h hook) binaryFilter(v value) BinaryFilter {
	var f BinaryFilter
	var values, follow value
	h.object(v, shape{
		known: map[string]func(value){
			"operator":       func(v value) { f.Op = h.binaryOperator(v) },
			"values":         func(v value) { values = v },
			"followChildren": func(v value) { follow = v; f.FollowChildren = h.boolean(v) },
		},
		required: []string{"operator", "values"},
	})
	if f.Op == 0 || values.node == nil {
		return f
	}
	if f.FollowChildren && f.Op != OpIn && f.Op != OpNotIn {
		h.fault(follow, "is for In and NotIn, not for %s", f.Op)
	}
	h.filterValues(values, f.Op.String(), func(item value) {
		if s, ok := h.text(item); ok {
			f.Values = append(f.Values, h.binaryPath(item, f.Op, s))
		}
	})
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
