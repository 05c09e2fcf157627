// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

// What is asked of changes is a mask, for each filter that cannot be joined with
// another one a read of its own.
func TestFiltersOnChanges(t *testing.T) {
	t.Parallel()
	hook := hookOf(t, policy.Arg{Index: index("path"), Type: policy.ArgString}, policy.Selector{
		NamespaceChanges: []policy.NamespaceChangeFilter{
			{Namespaces: []policy.Namespace{policy.NamespaceUts, policy.NamespaceNet}},
			{Namespaces: []policy.Namespace{policy.NamespaceMnt}},
			{Negated: true, Namespaces: []policy.Namespace{policy.NamespaceUser}},
			{Negated: true, Namespaces: []policy.Namespace{policy.NamespacePid}},
		},
		CapabilityChanges: []policy.CapabilityFilter{{Set: policy.CapabilityPermitted, Mask: 5, Namespaced: true}},
	})
	namespaces := compile.Read{Kind: bpf.WireReadKindREAD_NAMESPACE_CHANGES}
	again := namespaces
	again.Copy = 1
	reads := []compile.Read{
		namespaces, again,
		{Kind: bpf.WireReadKindREAD_CAPABILITY_CHANGES, Offset: 2},
		{Kind: bpf.WireReadKindREAD_NAMESPACE, Offset: uint16(policy.NamespaceUser)},
	}
	if diff := cmp.Diff(reads, hook.Reads[1:]); diff != "" {
		t.Errorf("reads (-want +got):\n%s", diff)
	}
	host, err := compiletest.Kernel{}.HostNamespace(policy.NamespaceUser)
	if err != nil {
		t.Fatal(err)
	}
	want := []compile.Filter{
		{Read: 1, Kind: bpf.WireMatchKindMATCH_MASK, Mask: 1<<policy.NamespaceUts | 1<<policy.NamespaceNet},
		{Read: 1, Kind: bpf.WireMatchKindMATCH_NOT_MASK, Mask: 1<<policy.NamespaceUser | 1<<policy.NamespacePid},
		{Read: 2, Kind: bpf.WireMatchKindMATCH_MASK, Mask: 1 << policy.NamespaceMnt},
		{Read: 3, Kind: bpf.WireMatchKindMATCH_MASK, Mask: 5},
		{Read: 4, Kind: exact, Negated: true, Numbers: []uint64{uint64(host)}},
	}
	if diff := cmp.Diff(want, hook.Rules[0].Filters); diff != "" {
		t.Errorf("filters (-want +got):\n%s", diff)
	}
	for i, r := range hook.Reads {
		if got := r.Origin(); got != (i >= 1 && i <= 3) {
			t.Errorf("read %d asks what has changed: %v", i, got)
		}
	}
}

// hostless is a kernel whose host's namespaces nobody can read.
type hostless struct{ compiletest.Kernel }

func (hostless) HostNamespace(policy.Namespace) (uint32, error) { return 0, errors.New("no host") }

func TestChangesOutsideOfAnUnknownHost(t *testing.T) {
	t.Parallel()
	_, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{{
		Section: policy.Tracepoints, Subsystem: compiletest.Subsystem, Event: compiletest.Event,
		Selectors: []policy.Selector{{
			CapabilityChanges: []policy.CapabilityFilter{{Mask: 1}, {Mask: 1, Namespaced: true}},
			Actions:           []policy.Action{{Kind: policy.Post}},
		}},
	}}}, hostless{})
	if err == nil || !strings.Contains(err.Error(), "spec.tracepoints[0].selectors[0].matchCapabilityChanges[1]: no host") {
		t.Errorf("refusal: %v", err)
	}
}
