// SPDX-License-Identifier: Apache-2.0

package control

import (
	"maps"
	"slices"
	"strings"
)

// keySet is the policies that are for a subject, by their keys. Subjects with the
// same ones share it, so that a change costs by the number of different sets and
// not by that of containers times policies. It is immutable.
type keySet struct{ keys map[string]bool }

func (s *keySet) has(key string) bool { return s.keys[key] }

// keySets finds the keySet of certain keys, so that there is one for each.
type keySets map[string]*keySet

func (all keySets) of(keys map[string]bool) *keySet {
	// No key has a NUL: names and namespaces are words.
	name := strings.Join(slices.Sorted(maps.Keys(keys)), "\x00")
	s := all[name]
	if s == nil {
		s = &keySet{keys}
		all[name] = s
	}
	return s
}

// with is a set with a key, or without it.
func (all keySets) with(s *keySet, key string, in bool) *keySet {
	if s.has(key) == in {
		return s
	}
	keys := maps.Clone(s.keys)
	if in {
		keys[key] = true
	} else {
		delete(keys, key)
	}
	return all.of(keys)
}

// keep forgets the sets that are not among those in use.
func (all keySets) keep(used map[*keySet]bool) {
	maps.DeleteFunc(all, func(_ string, s *keySet) bool { return !used[s] })
}
