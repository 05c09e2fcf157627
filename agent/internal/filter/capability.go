// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"errors"
	"fmt"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// capabilitySet is a bit for each capability.
type capabilitySet uint64

func setOf(list []tetragon.CapabilitiesType) (set capabilitySet) {
	for _, c := range list {
		set |= 1 << uint(c)
	}
	return set
}

// capabilityTest is the conditions for one of a process's sets. All that there are
// must hold.
type capabilityTest struct {
	of                           func(*tetragon.Capabilities) []tetragon.CapabilitiesType
	any, all, exactly, none      capabilitySet
	hasAny, hasExactly, hasOther bool
}

func (t *capabilityTest) holds(c *tetragon.Capabilities) bool {
	set := setOf(t.of(c))
	return (!t.hasAny || set&t.any != 0) && set&t.all == t.all && (!t.hasExactly || set == t.exactly) && set&t.none == 0
}

// capabilities holds for no process whose capabilities are not known.
func capabilities(f *tetragon.Filter) (holds predicate, errs []error) {
	var tests []capabilityTest
	if err := unknown(f.GetCapabilities().ProtoReflect()); err != nil {
		errs = append(errs, fmt.Errorf(".%w", err))
	}
	for _, set := range [...]struct {
		name string
		want *tetragon.CapFilterSet
		of   func(*tetragon.Capabilities) []tetragon.CapabilitiesType
	}{
		{"permitted", f.GetCapabilities().GetPermitted(), (*tetragon.Capabilities).GetPermitted},
		{"effective", f.GetCapabilities().GetEffective(), (*tetragon.Capabilities).GetEffective},
		{"inheritable", f.GetCapabilities().GetInheritable(), (*tetragon.Capabilities).GetInheritable},
	} {
		if set.want == nil {
			continue
		}
		test, faults := compileCapabilities(set.want)
		for _, fault := range faults {
			errs = append(errs, fmt.Errorf(".%s%w", set.name, fault))
		}
		test.of = set.of
		tests = append(tests, test)
	}
	if len(tests) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New(": none of permitted, effective and inheritable is there"))
	}
	return ofProcess(func(p *tetragon.Process) bool {
		if p.GetCap() == nil {
			return false
		}
		for i := range tests {
			if !tests[i].holds(p.GetCap()) {
				return false
			}
		}
		return true
	}), errs
}

func compileCapabilities(want *tetragon.CapFilterSet) (t capabilityTest, errs []error) {
	if err := unknown(want.ProtoReflect()); err != nil {
		errs = append(errs, fmt.Errorf(".%w", err))
	}
	for _, list := range [...]struct {
		name string
		of   []tetragon.CapabilitiesType
		set  *capabilitySet
		has  *bool
	}{
		{"any", want.GetAny(), &t.any, &t.hasAny}, {"all", want.GetAll(), &t.all, &t.hasOther},
		{"exactly", want.GetExactly(), &t.exactly, &t.hasExactly}, {"none", want.GetNone(), &t.none, &t.hasOther},
	} {
		for i, c := range list.of {
			if _, ok := tetragon.CapabilitiesType_name[int32(c)]; !ok {
				errs = append(errs, fmt.Errorf(".%s[%d]: %d: no such capability", list.name, i, c))
			}
		}
		*list.set, *list.has = setOf(list.of), *list.has || len(list.of) > 0
	}
	if !t.hasAny && !t.hasExactly && !t.hasOther && len(errs) == 0 {
		errs = append(errs, errors.New(": names no capabilities"))
	}
	return t, errs
}
