// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/boltseal/boltseal/agent/internal/filter/field"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func TestRequest(t *testing.T) {
	t.Parallel()
	r, err := Compiler{Lineage: forebears()}.CompileRequest(&tetragon.GetEventsRequest{
		AllowList: []*tetragon.Filter{{PidSet: []uint32{5}}}, DenyList: []*tetragon.Filter{{PolicyNames: []string{"other"}}},
		FieldFilters: []*tetragon.FieldFilter{{Fields: &fieldmaskpb.FieldMask{Paths: []string{"process.pid"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	e := whole()
	if !r.Passes(e) || r.Passes(exec("/bin/cat", "", "", "", "", 1)) {
		t.Error("the lists are not those of the request")
	}
	got := r.Fields(e).GetProcessUprobe()
	if got.GetProcess().GetPid().GetValue() != 30 || got.GetProcess().GetBinary() != "" || got.GetParent() != nil {
		t.Errorf("fields: %v", got)
	}
	other := whole()
	other.GetProcessUprobe().PolicyName = "other"
	if r.Passes(other) {
		t.Error("what the deny list names passes")
	}
}

func TestRequestNamesAllFaults(t *testing.T) {
	t.Parallel()
	request := &tetragon.GetEventsRequest{
		AllowList: []*tetragon.Filter{{BinaryRegex: []string{"("}}}, DenyList: []*tetragon.Filter{{Labels: []string{"="}}},
		FieldFilters: []*tetragon.FieldFilter{{}},
	}
	request.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 1))
	r, err := Compiler{}.CompileRequest(request)
	if r != nil || !errors.Is(err, ErrInvalid) || !errors.Is(err, field.ErrInvalid) {
		t.Fatalf("%v, error %v", r, err)
	}
	for _, want := range []string{"field 9: not known", "allow_list[0].binary_regex[0]: ", "deny_list[0].labels[0]: ", "field_filters[0].fields: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
}

// tenObjects is a request as an operator of a cluster would write it: ten filters
// of which none is for the event.
func tenObjects() []*tetragon.Filter {
	var list []*tetragon.Filter
	for _, name := range []string{"kube-system", "monitoring", "ingress", "storage", "logging", "registry", "ci", "backup", "mesh", "dns"} {
		list = append(list, &tetragon.Filter{NamespaceRegex: []string{"^" + name}, BinaryRegex: []string{"^/usr/bin/", "/curl$"}})
	}
	return list
}

func BenchmarkPasses(b *testing.B) {
	for _, c := range []struct {
		name        string
		allow, deny []*tetragon.Filter
	}{
		{"no filter", nil, nil},
		{"simple", []*tetragon.Filter{
			types(tetragon.EventType_PROCESS_UPROBE), {Namespace: []string{"prod"}, Pid: []uint32{30}},
		}, []*tetragon.Filter{{PolicyNames: []string{"other"}}}},
		{"regexes", []*tetragon.Filter{{
			EventSet:  []tetragon.EventType{tetragon.EventType_PROCESS_UPROBE},
			Namespace: []string{"prod"}, BinaryRegex: []string{"^/usr/sbin", "curl$"},
		}}, []*tetragon.Filter{{PodRegex: []string{"^kube-"}}}},
		{"10 objects of regexes", nil, tenObjects()},
		{"pid set", []*tetragon.Filter{{PidSet: []uint32{10}}}, nil},
		{"labels", []*tetragon.Filter{{Labels: []string{"app in (web, api),tier"}}}, nil},
		{"capabilities", []*tetragon.Filter{permitted(&capSet{Any: caps(admin, kill)})}, nil},
		{"CEL", []*tetragon.Filter{{CelExpression: []string{"process_uprobe.process.pid == 30u && process_uprobe.process.binary.endsWith('curl')"}}}, nil},
		{"CEL of another type", nil, []*tetragon.Filter{{CelExpression: []string{"process_exec.process.pid == 30u"}}}},
	} {
		f, err := Compile(c.allow, c.deny)
		if err != nil {
			b.Fatal(err)
		}
		e := whole()
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !f.Passes(e) {
					b.Fatal("does not pass")
				}
			}
		})
	}
}

// TestPassesWithoutAllocating holds that simple filters leave nothing to collect: they see
// every event, for every subscriber.
func TestPassesWithoutAllocating(t *testing.T) {
	simple := []*tetragon.Filter{
		{EventSet: []tetragon.EventType{1}}, {Pid: []uint32{1}}, {Namespace: []string{"x"}}, {ContainerId: []string{"x"}}, {PolicyNames: []string{"x"}},
		{BinaryRegex: []string{"^/x"}}, {PidSet: []uint32{1}}, {AncestorBinaryRegex: []string{"^/x"}}, permitted(&capSet{Any: caps(admin)}),
		{CelExpression: []string{"process_exec.process.pid == 1u"}},
	}
	f, err := Compile(nil, simple)
	if err != nil {
		t.Fatal(err)
	}
	e := whole()
	if n := testing.AllocsPerRun(100, func() { f.Passes(e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
