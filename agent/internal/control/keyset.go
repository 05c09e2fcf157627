// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// keySet is the policies that are for a subject, by their keys, and which of their
// workloads it is of. Subjects with the same ones share it, so that a change costs
// by the number of different sets and not by that of containers times policies. It
// is immutable.
type keySet struct{ keys map[string]policy.WorkloadSet }

func (s *keySet) has(key string) bool {
	_, has := s.keys[key]
	return has
}

// keySets finds the keySet of certain keys, so that there is one for each.
type keySets map[string]*keySet

func (all keySets) of(keys map[string]policy.WorkloadSet) *keySet {
	var name strings.Builder
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		// No key has a NUL: names and namespaces are words.
		name.WriteString(key)
		if w := keys[key]; w != (policy.WorkloadSet{}) {
			fmt.Fprint(&name, w)
		}
		name.WriteByte(0)
	}
	s := all[name.String()]
	if s == nil {
		s = &keySet{keys}
		all[name.String()] = s
	}
	return s
}

// wanted is what a subject is to have of one policy.
type wanted struct {
	in        bool
	workloads policy.WorkloadSet
}

// with is a set with a key as it is wanted, or without it.
func (all keySets) with(s *keySet, key string, w wanted) *keySet {
	if workloads, has := s.keys[key]; has == w.in && workloads == w.workloads {
		return s
	}
	keys := maps.Clone(s.keys)
	if w.in {
		keys[key] = w.workloads
	} else {
		delete(keys, key)
	}
	return all.of(keys)
}

// keep forgets the sets that are not among those in use.
func (all keySets) keep(used map[*keySet]bool) {
	maps.DeleteFunc(all, func(_ string, s *keySet) bool { return !used[s] })
}
