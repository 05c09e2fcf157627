// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/api/validate/content"
)

const (
	maxHooks        = 1024
	maxRequirements = 1024
	maxLabelKey     = 317 // a DNS subdomain, a slash, a name of 63
)

// metadata decodes the envelope's object. The keys that Kubernetes adds to an
// object it has stored say nothing about a policy and are let through.
func (d *decoder) metadata(v value, p *Policy) {
	ignored := func(value) {}
	var namespace value
	known := map[string]func(value){
		"name": func(v value) {
			var ok bool
			p.Name, ok = d.text(v)
			if reasons := content.IsDNS1123Subdomain(p.Name); ok && len(reasons) > 0 {
				d.fault(v, "%s is no DNS-1123 subdomain: %s", quote(p.Name), strings.Join(reasons, "; "))
			}
		},
		"namespace":   func(v value) { namespace = v },
		"labels":      func(v value) { p.Labels = d.textMap(v) },
		"annotations": func(v value) { p.Annotations = d.textMap(v) },
	}
	for _, key := range []string{
		"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "generateName",
		"generation", "managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid",
	} {
		known[key] = ignored
	}
	if !d.object(v, shape{known: known, required: []string{"name"}}) {
		return
	}
	d.namespace(v, namespace, p)
}

func (d *decoder) namespace(meta, v value, p *Policy) {
	if v.node != nil {
		p.Namespace, _ = d.text(v)
	}
	switch {
	case p.Namespace == "" && p.Kind == Namespaced:
		d.fault(meta, "namespace is required for %s", p.Kind)
	case p.Namespace == "":
	case p.Kind == Cluster:
		d.fault(v, "must be absent for %s", p.Kind)
	default:
		if reasons := content.IsDNS1123Label(p.Namespace); len(reasons) > 0 {
			d.fault(v, "%s is no DNS-1123 label: %s", quote(p.Namespace), strings.Join(reasons, "; "))
		}
	}
}

func (d *decoder) spec(v value, p *Policy) {
	mode := Enforce
	before := len(d.faults)
	var lists, enforcers, macros value
	sections := map[Section]value{}
	known := map[string]func(value){
		"lists":             func(v value) { lists = v },
		"enforcers":         func(v value) { enforcers = v },
		"options":           func(v value) { mode, p.Options = d.options(v) },
		"podSelector":       func(v value) { p.PodSelector = d.labelSelector(v) },
		"containerSelector": func(v value) { p.ContainerSelector = d.labelSelector(v) },
		"nodeSelector":      func(v value) { p.NodeSelector = d.labelSelector(v) },
		"hostSelector":      func(v value) { p.HostSelector = d.hostSelector(v, p.Kind) },
		"selectorsMacros":   func(v value) { macros = v },
	}
	for s := Tracepoints; s <= Fentries; s++ {
		known[s.String()] = func(v value) { sections[s] = v }
	}
	ok := d.object(v, shape{known: known, later: []string{"uprobes", "usdts", "loader"}})
	// Hooks and enforcers refer to lists, and hooks to enforcers and macros.
	if lists.node != nil {
		d.decodeLists(lists)
	}
	if enforcers.node != nil {
		p.Enforcers = d.decodeEnforcers(enforcers)
		d.enforcers = len(enforcers.node.Content) > 0
	}
	p.Generated, p.EnforcerLists = d.generated, d.enforcerLists
	d.envelope = p.Kind
	if macros.node != nil {
		d.decodeMacros(macros)
	}
	for s := Tracepoints; s <= Fentries; s++ {
		if section, ok := sections[s]; ok {
			p.Hooks = append(p.Hooks, d.hooks(section, s)...)
		}
	}
	p.Workloads = d.workloads
	d.unusedMacros()
	if p.Mode = mode; !p.Enforces() {
		p.Mode = MonitorOnly
	}
	if d.enforcers && !notifies(p.Hooks) {
		d.warn(enforcers, "does nothing: no selector has the action %s", NotifyEnforcer)
	}
	switch {
	case len(p.Hooks) > maxHooks:
		d.fault(v, "has %d hooks, more than %d", len(p.Hooks), maxHooks)
	case ok && len(p.Hooks) == 0 && len(d.faults) == before:
		// A section that was refused is reason enough.
		d.fault(v, "has no hook: write at least one item in %s, %s, %s or %s", Tracepoints, Kprobes, LSMHooks, Fentries)
	}
}

func notifies(hooks []Hook) bool {
	return slices.ContainsFunc(hooks, func(h Hook) bool {
		return slices.ContainsFunc(h.Selectors, func(s Selector) bool {
			return slices.ContainsFunc(s.Actions, func(a Action) bool { return a.Kind == NotifyEnforcer })
		})
	})
}

func (d *decoder) hostSelector(v value, kind Kind) bool {
	entries, ok := d.entries(v)
	switch {
	case !ok:
	case len(entries) > 0:
		d.fault(v, "must be null or {}")
	case kind == Namespaced:
		d.fault(v, "must be absent for %s, which never selects the host", kind)
	default:
		return true
	}
	return false
}

// labelSelector decodes matchLabels and matchExpressions into one list.
func (d *decoder) labelSelector(v value) *LabelSelector {
	s := &LabelSelector{}
	add := func(at value, r Requirement) {
		if d.labelKey(at, r.Key) && d.labelValues(at, r.Values) {
			slices.Sort(r.Values)
			r.Values = slices.Compact(r.Values)
			s.Requirements = append(s.Requirements, r)
		}
	}
	d.object(v, shape{known: map[string]func(value){
		"matchLabels": func(v value) {
			entries, _ := d.entries(v)
			for _, e := range entries {
				if text, ok := d.text(e); ok {
					add(e, Requirement{Key: e.key, Op: LabelIn, Values: []string{text}})
				}
			}
		},
		"matchExpressions": func(v value) {
			d.list(v, maxRequirements, func(item value) {
				if r, ok := d.requirement(item); ok {
					add(item, r)
				}
			})
		},
	}})
	return s
}

func (d *decoder) requirement(v value) (Requirement, bool) {
	var r Requirement
	var key, operator value
	whole := true
	ok := d.object(v, shape{
		known: map[string]func(value){
			"key":      func(v value) { key = v },
			"operator": func(v value) { operator = v },
			"values": func(v value) {
				var ok bool
				r.Values, ok = d.texts(v, MaxValues)
				whole = whole && ok
			},
		},
		required: []string{"key", "operator"},
	})
	if !ok || !whole || key.node == nil || operator.node == nil {
		return r, false
	}
	r.Key, whole = d.text(key)
	r.Op, ok = d.labelOperator(operator)
	if !ok || !whole {
		return r, false
	}
	switch compares := r.Op == LabelIn || r.Op == LabelNotIn; {
	case compares && len(r.Values) == 0:
		d.fault(v, "%s needs at least one value", operator.node.Value)
		return r, false
	case !compares && len(r.Values) > 0:
		d.fault(v, "%s takes no values", operator.node.Value)
		return r, false
	}
	return r, true
}

func (d *decoder) labelOperator(v value) (RequirementOp, bool) {
	name, ok := d.text(v)
	if !ok {
		return 0, false
	}
	switch name {
	case "In":
		return LabelIn, true
	case "NotIn":
		return LabelNotIn, true
	case "Exists":
		return LabelExists, true
	case "DoesNotExist":
		return LabelDoesNotExist, true
	}
	d.fault(v, "unknown operator %s; there are In, NotIn, Exists, DoesNotExist", quote(name))
	return 0, false
}

func (d *decoder) labelKey(v value, key string) bool {
	switch {
	case key == "":
		d.fault(v, "key is empty")
	case len(key) > maxLabelKey:
		d.fault(v, "key is %d bytes long, more than %d", len(key), maxLabelKey)
	case strings.ContainsFunc(key, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		d.fault(v, "key %s has white space or characters that cannot be printed", quote(key))
	default:
		return true
	}
	return false
}

func (d *decoder) labelValues(v value, values []string) bool {
	for _, s := range values {
		if len(s) > maxString {
			d.fault(v, "has a value of %d bytes, more than %d", len(s), maxString)
			return false
		}
	}
	return true
}
