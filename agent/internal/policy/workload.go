// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"reflect"
	"slices"
)

// MaxWorkloads is how many different matchWorkloads a policy can have.
const MaxWorkloads = 128

// Workload is what matchWorkloads of a selector says: for which of the policy's
// processes it is. It is read as the policy's own selectors are.
type Workload struct {
	// PodSelector and ContainerSelector are nil when there is none; empty ones are
	// not nil.
	PodSelector, ContainerSelector *LabelSelector
	// HostSelector tells that there is "hostSelector: {}".
	HostSelector bool
}

// WorkloadSet is a set of the workloads of a policy. The zero value is empty.
type WorkloadSet [MaxWorkloads / 64]uint64

// With is the set with the workload that Selector.Workload has as n.
func (w WorkloadSet) With(n int) WorkloadSet {
	w[(n-1)/64] |= 1 << ((n - 1) % 64)
	return w
}

// Has tells whether a selector with n as its Workload is for processes of the
// workloads in the set: with 0 it is for all.
func (w WorkloadSet) Has(n int) bool {
	return n == 0 || w[(n-1)/64]&(1<<((n-1)%64)) != 0
}

// workload is the number that matchWorkloads gives its selector.
func (d *decoder) workload(v value) int {
	var w Workload
	before := len(d.faults)
	d.object(v, shape{known: map[string]func(value){
		"podSelector":       func(v value) { w.PodSelector = d.labelSelector(v) },
		"containerSelector": func(v value) { w.ContainerSelector = d.labelSelector(v) },
		"hostSelector":      func(v value) { w.HostSelector = d.hostSelector(v, d.envelope) },
	}})
	if len(d.faults) != before || reflect.ValueOf(w).IsZero() {
		return 0
	}
	if n := slices.IndexFunc(d.workloads, func(o Workload) bool { return reflect.DeepEqual(o, w) }); n >= 0 {
		return n + 1
	}
	if len(d.workloads) == MaxWorkloads {
		d.fault(v, "is one more than the %d different ones that a policy can have", MaxWorkloads)
		return 0
	}
	d.workloads = append(d.workloads, w)
	return len(d.workloads)
}

// maxSelectorLabel is how much of a selector's label is shown.
const maxSelectorLabel = 256

func (d *decoder) selectorLabel(v value) string {
	s, _ := d.text(v)
	return d.cut(v, s, maxSelectorLabel)
}
