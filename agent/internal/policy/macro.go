// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"slices"
	"strings"
)

const (
	maxMacros = 1024
	// maxMacrosUsed is more than a selector has keys: each macro sets one at least.
	maxMacrosUsed = 64
	macrosKey     = "macros"
)

// macro is an item of spec.selectorsMacros: fields that selectors take over.
type macro struct {
	at      value
	entries []value
	used    bool
}

func (d *decoder) decodeMacros(v value) {
	d.macros = map[string]*macro{}
	all, _ := d.entries(v)
	if len(all) > maxMacros {
		d.fault(v, "has %d macros, more than %d", len(all), maxMacros)
		return
	}
	keys := hook{decoder: d}.selectorShape(&Selector{}, &value{})
	for _, item := range all {
		if isNull(item.node) {
			continue
		}
		m := &macro{at: item}
		entries, _ := d.entries(item)
		for _, e := range entries {
			_, known := keys.known[e.key]
			switch {
			case e.key == macrosKey:
				if !isDefault(e.node) {
					d.fault(e, "a macro cannot use macros")
				}
			case isDefault(e.node):
			case !known && !slices.Contains(keys.later, e.key):
				d.fault(e, "unknown key%s", keys.hint(e.key))
			default:
				m.entries = append(m.entries, e)
			}
		}
		d.macros[item.key] = m
	}
}

// unusedMacros warns of macros of which only the keys were looked at: what filters
// mean depends on the hook.
func (d *decoder) unusedMacros() {
	for _, name := range slices.Sorted(maps.Keys(d.macros)) {
		if m := d.macros[name]; !m.used {
			d.warn(m.at, "no selector uses the macro: the values in it were not checked")
		}
	}
}

// withMacros is the pairs of a selector with those of the macros that it names in
// the place of "macros". No key may come from two sides.
func (h hook) withMacros(v value) ([]value, bool) {
	own, ok := h.entries(v)
	if !ok {
		return nil, false
	}
	at := slices.IndexFunc(own, func(e value) bool { return e.key == macrosKey })
	if at < 0 {
		return own, true
	}
	names := own[at]
	own = slices.Delete(own, at, at+1)
	if isNull(names.node) {
		return own, true
	}
	var all []value
	from := map[string]string{}
	h.list(names, maxMacrosUsed, func(item value) {
		name, m := h.macro(item)
		if m == nil {
			return
		}
		for _, e := range m.entries {
			if first, twice := from[e.key]; twice {
				h.fault(item, "%s is set by the macros %s and %s", e.key, quote(first), quote(name))
				continue
			}
			from[e.key] = name
			all = append(all, e)
		}
	})
	for _, e := range own {
		name, twice := from[e.key]
		switch {
		case !twice:
			all = append(all, e)
		case !isDefault(e.node):
			h.fault(e, "is set by the macro %s too", quote(name))
		}
	}
	return all, true
}

// macro is the macro of a name, nil with a fault when there is none.
func (h hook) macro(item value) (string, *macro) {
	name, ok := h.text(item)
	if !ok {
		return "", nil
	}
	m := h.macros[name]
	if m == nil {
		there := "there are none: spec.selectorsMacros has them"
		if len(h.macros) > 0 {
			there = "there are " + clip(strings.Join(slices.Sorted(maps.Keys(h.macros)), ", "))
		}
		h.fault(item, "unknown macro %s; %s", quote(name), there)
		return "", nil
	}
	m.used = true
	return name, m
}
