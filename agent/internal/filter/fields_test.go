// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// whole is an event of which all is known that filters look at.
func whole() *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessUprobe{ProcessUprobe: &tetragon.ProcessUprobe{
		Process: &tetragon.Process{
			ExecId: "self", ParentExecId: "parent",
			Pid: wrapperspb.UInt32(30), Binary: "/usr/bin/curl", Arguments: "-s example.org", InInitTree: wrapperspb.Bool(true),
			Pod: &tetragon.Pod{
				Name: "web-1", Namespace: "prod", PodLabels: map[string]string{"app": "web", "tier": "front"},
				Container: &tetragon.Container{Id: "0123456789abcdef", Name: "nginx", MaybeExecProbe: true},
			},
			Cap: &tetragon.Capabilities{
				Permitted:   []tetragon.CapabilitiesType{tetragon.CapabilitiesType_CAP_KILL, tetragon.CapabilitiesType_CAP_CHOWN},
				Effective:   []tetragon.CapabilitiesType{tetragon.CapabilitiesType_CAP_KILL},
				Inheritable: []tetragon.CapabilitiesType{},
			},
		},
		Parent:     &tetragon.Process{ExecId: "parent", ParentExecId: "grand", Pid: wrapperspb.UInt32(20), Binary: "/bin/sh", Arguments: "-c curl"},
		Ancestors:  []*tetragon.Process{{ExecId: "grand", ParentExecId: "great", Pid: wrapperspb.UInt32(10), Binary: "/usr/sbin/nginx"}},
		PolicyName: "egress",
	}}}
}

// family is a Lineage.
type family map[string]Ancestor

func (f family) Ancestor(execID string) (Ancestor, bool) {
	a, ok := f[execID]
	return a, ok
}

func forebears() family {
	return family{
		"parent": {PID: 20, Binary: "/bin/sh", ParentExecID: "grand"},
		"grand":  {PID: 10, Binary: "/usr/sbin/nginx", ParentExecID: "great"},
		"great":  {PID: 5, Binary: "/usr/bin/shim", ParentExecID: "circle"},
		"circle": {PID: 4, Binary: "/round", ParentExecID: "circle"},
	}
}

type capSet = tetragon.CapFilterSet

func caps(list ...tetragon.CapabilitiesType) []tetragon.CapabilitiesType { return list }

// row is one field, with values that hold for whole(), values that do not, and ones that
// are refused, with a part of the error.
type row struct {
	field   string
	holds   []*tetragon.Filter
	not     []*tetragon.Filter
	invalid map[string]*tetragon.Filter
}

const (
	kill  = tetragon.CapabilitiesType_CAP_KILL
	chown = tetragon.CapabilitiesType_CAP_CHOWN
	admin = tetragon.CapabilitiesType_CAP_SYS_ADMIN
)

func permitted(s *capSet) *tetragon.Filter {
	return &tetragon.Filter{Capabilities: &tetragon.CapFilter{Permitted: s}}
}

// expressionRow is the row of a field of regular expressions.
func expressionRow(field, holds string, set func(*tetragon.Filter, ...string)) row {
	with := func(values ...string) *tetragon.Filter {
		f := &tetragon.Filter{}
		set(f, values...)
		return f
	}
	return row{
		field: field, holds: []*tetragon.Filter{with(holds), with("^nothing$", holds)},
		not:     []*tetragon.Filter{with("^nothing$"), with("^nothing$", "^$")},
		invalid: map[string]*tetragon.Filter{"." + field + "[1]: error parsing regexp": with("x", "(")},
	}
}

func rows() []row {
	newer := &capSet{Any: caps(kill)}
	newer.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 1))
	newerList := &tetragon.CapFilter{}
	newerList.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 4, protowire.VarintType), 1))
	return []row{
		expressionRow("binary_regex", "/curl$", func(f *tetragon.Filter, v ...string) { f.BinaryRegex = v }),
		expressionRow("arguments_regex", "example[.]org", func(f *tetragon.Filter, v ...string) { f.ArgumentsRegex = v }),
		expressionRow("pod_regex", "^web-", func(f *tetragon.Filter, v ...string) { f.PodRegex = v }),
		expressionRow("namespace_regex", "^pr", func(f *tetragon.Filter, v ...string) { f.NamespaceRegex = v }),
		expressionRow("container_name_regex", "^nginx$", func(f *tetragon.Filter, v ...string) { f.ContainerNameRegex = v }),
		expressionRow("parent_binary_regex", "^/bin/sh$", func(f *tetragon.Filter, v ...string) { f.ParentBinaryRegex = v }),
		expressionRow("parent_arguments_regex", "^-c", func(f *tetragon.Filter, v ...string) { f.ParentArgumentsRegex = v }),
		expressionRow("ancestor_binary_regex", "^/usr/sbin/nginx$", func(f *tetragon.Filter, v ...string) { f.AncestorBinaryRegex = v }),
		{
			field: "namespace",
			holds: []*tetragon.Filter{{Namespace: []string{"dev", "prod"}}},
			not:   []*tetragon.Filter{{Namespace: []string{"", "pro"}}},
		},
		{
			field: "health_check",
			holds: []*tetragon.Filter{{HealthCheck: wrapperspb.Bool(true)}},
			not:   []*tetragon.Filter{{HealthCheck: wrapperspb.Bool(false)}},
		},
		{
			field: "pid",
			holds: []*tetragon.Filter{{Pid: []uint32{1, 30}}},
			not:   []*tetragon.Filter{{Pid: []uint32{20, 10, 0}}},
		},
		{
			field: "pid_set",
			holds: []*tetragon.Filter{{PidSet: []uint32{30}}, {PidSet: []uint32{1, 20}}, {PidSet: []uint32{10}}},
			not:   []*tetragon.Filter{{PidSet: []uint32{0, 1, 31}}},
		},
		{
			field:   "event_set",
			holds:   []*tetragon.Filter{types(tetragon.EventType_PROCESS_EXEC, tetragon.EventType_PROCESS_UPROBE)},
			not:     []*tetragon.Filter{types(tetragon.EventType_PROCESS_USDT), types(tetragon.EventType_UNDEF)},
			invalid: map[string]*tetragon.Filter{".event_set[1]: 2: no such event type": types(1, 2)},
		},
		{
			field: "labels",
			holds: []*tetragon.Filter{
				{Labels: []string{"app=web"}}, {Labels: []string{"app=db", "app in (web, api),tier"}}, {Labels: []string{"!other"}},
			},
			not: []*tetragon.Filter{{Labels: []string{"app=web,tier=back"}}, {Labels: []string{"app!=web", "!tier"}}},
			invalid: map[string]*tetragon.Filter{
				".labels[1]: ": {Labels: []string{"a", "app in web"}},
				".labels[0]: unable to parse requirement: selector: Invalid value: \"-bad\"": {Labels: []string{"-bad=1"}},
			},
		},
		{
			field: "policy_names",
			holds: []*tetragon.Filter{{PolicyNames: []string{"other", "egress"}}},
			not:   []*tetragon.Filter{{PolicyNames: []string{"", "eg"}}},
		},
		{
			field: "capabilities",
			holds: []*tetragon.Filter{
				permitted(&capSet{Any: caps(admin, kill)}), permitted(&capSet{All: caps(kill, chown)}),
				permitted(&capSet{Exactly: caps(chown, kill)}), permitted(&capSet{None: caps(admin)}),
				permitted(&capSet{Any: caps(kill), None: caps(admin)}),
				{Capabilities: &tetragon.CapFilter{
					Permitted: &capSet{All: caps(kill)}, Effective: &capSet{Exactly: caps(kill)}, Inheritable: &capSet{None: caps(kill)},
				}},
			},
			not: []*tetragon.Filter{
				permitted(&capSet{Any: caps(admin)}), permitted(&capSet{All: caps(kill, admin)}),
				permitted(&capSet{Exactly: caps(kill)}), permitted(&capSet{None: caps(admin, chown)}),
				permitted(&capSet{Any: caps(kill), None: caps(chown)}),
				{Capabilities: &tetragon.CapFilter{Effective: &capSet{Any: caps(chown)}}},
				{Capabilities: &tetragon.CapFilter{Inheritable: &capSet{Any: caps(kill)}}},
				{Capabilities: &tetragon.CapFilter{Permitted: &capSet{All: caps(kill)}, Effective: &capSet{All: caps(chown)}}},
			},
			invalid: map[string]*tetragon.Filter{
				".capabilities: none of permitted":                             {Capabilities: &tetragon.CapFilter{}},
				".capabilities.effective: names no capabilities":               {Capabilities: &tetragon.CapFilter{Effective: &capSet{}}},
				".capabilities.permitted.all[1]: 77: no such capability":       permitted(&capSet{All: caps(kill, 77)}),
				".capabilities.permitted.field 9: not known to this version":   permitted(newer),
				".capabilities.field 4: not known to this version":             {Capabilities: newerList},
				".capabilities.inheritable.none[0]: -1: no such capability":    {Capabilities: &tetragon.CapFilter{Inheritable: &capSet{None: caps(-1)}}},
				".capabilities.permitted.exactly[0]: 1000: no such capability": permitted(&capSet{Exactly: caps(1000)}),
			},
		},
		{
			field: "cel_expression",
			holds: []*tetragon.Filter{
				{CelExpression: []string{"process_uprobe.process.pid == 30u"}},
				{CelExpression: []string{"process_exec.process.pid == 30u", "process_uprobe.policy_name == 'egress'"}},
			},
			not: []*tetragon.Filter{{CelExpression: []string{"process_uprobe.process.pid == 3u", "process_exec.process.pid != 3u"}}},
			invalid: map[string]*tetragon.Filter{
				".cel_expression[1]: undefined field 'pids' (column ": {CelExpression: []string{"true", "process_uprobe.process.pids == 3u"}},
			},
		},
		{
			field: "container_id",
			holds: []*tetragon.Filter{{ContainerId: []string{"xyz", "0123"}}},
			not:   []*tetragon.Filter{{ContainerId: []string{"", "123"}}},
		},
		{
			field: "in_init_tree",
			holds: []*tetragon.Filter{{InInitTree: wrapperspb.Bool(true)}},
			not:   []*tetragon.Filter{{InInitTree: wrapperspb.Bool(false)}},
		},
	}
}

func TestEveryField(t *testing.T) {
	t.Parallel()
	about := whole()
	nobody := &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessThrottle{ProcessThrottle: &tetragon.ProcessThrottle{}}}
	tested := map[string]bool{}
	for _, r := range rows() {
		t.Run(r.field, func(t *testing.T) {
			if len(r.holds) == 0 || len(r.not) == 0 {
				t.Error("is tried in one way only")
			}
			for want, list := range map[bool][]*tetragon.Filter{true: r.holds, false: r.not} {
				for _, f := range list {
					expect(t, f, r.field, about, want)
					expect(t, f, r.field, nobody, false)
				}
			}
			for want, f := range r.invalid {
				_, err := Compile([]*tetragon.Filter{{}, f}, nil)
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "allow_list[1]"+want) {
					t.Errorf("%v: error %v, want one with %q", f, err, want)
				}
			}
		})
		tested[r.field] = true
	}
	fields := (&tetragon.Filter{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if name := string(fields.Get(i).Name()); !tested[name] {
			t.Errorf("%s is not tried", name)
		}
	}
}

// expect tries a filter of one field in both lists.
func expect(t *testing.T, f *tetragon.Filter, field string, e *tetragon.GetEventsResponse, want bool) {
	t.Helper()
	m := f.ProtoReflect()
	if only := m.Descriptor().Fields().ByName("binary_regex"); field != "binary_regex" && m.Has(only) {
		t.Fatalf("%v has another field than %s", f, field)
	}
	allowed, err := Compile([]*tetragon.Filter{f}, nil)
	if err != nil {
		t.Errorf("%v: %v", f, err)
		return
	}
	denied, err := Compile(nil, []*tetragon.Filter{f})
	if err != nil {
		t.Errorf("%v: %v", f, err)
		return
	}
	if allowed.Passes(e) != want || denied.Passes(e) == want {
		t.Errorf("%v: allowed: passes = %v, denied: passes = %v; it should hold: %v", f, allowed.Passes(e), denied.Passes(e), want)
	}
}

// TestWhatIsNotKnown holds what fields say of processes of which little is known.
func TestWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	bare := &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessLoader{
		ProcessLoader: &tetragon.ProcessLoader{Process: &tetragon.Process{}},
	}}
	for want, list := range map[bool][]*tetragon.Filter{
		true: {
			{HealthCheck: wrapperspb.Bool(false)}, {InInitTree: wrapperspb.Bool(false)}, {Namespace: []string{""}},
		},
		false: {
			{HealthCheck: wrapperspb.Bool(true)}, {InInitTree: wrapperspb.Bool(true)}, {Labels: []string{"!app"}}, {Labels: []string{""}},
			permitted(&capSet{None: caps(kill)}), {Pid: []uint32{0}}, {PidSet: []uint32{0}}, {PolicyNames: []string{""}},
			{AncestorBinaryRegex: []string{""}}, {ParentArgumentsRegex: []string{""}},
		},
	} {
		for _, f := range list {
			expect(t, f, "", bare, want)
		}
	}
}

func TestLineage(t *testing.T) {
	t.Parallel()
	set := func(pids ...uint32) *tetragon.Filter { return &tetragon.Filter{PidSet: pids} }
	binary := func(e string) *tetragon.Filter { return &tetragon.Filter{AncestorBinaryRegex: []string{e}} }
	alone := whole()
	alone.GetProcessUprobe().Parent, alone.GetProcessUprobe().Ancestors = nil, nil
	withParent := whole()
	withParent.GetProcessUprobe().Ancestors = nil
	orphan := whole()
	orphan.GetProcessUprobe().Parent = nil
	for _, c := range []struct {
		name    string
		f       *tetragon.Filter
		e       *tetragon.GetEventsResponse
		without bool // of a lineage
		with    bool
	}{
		{"in the event", set(10), whole(), true, true},
		{"beyond the event", set(5), whole(), false, true},
		{"nothing in the event", set(20), alone, false, true},
		{"parent in the event", set(10), withParent, false, true},
		{"no end", set(99), whole(), false, false},
		{"parent is not in the event", set(10), orphan, true, true},
		{"binary in the event", binary("nginx"), whole(), true, true},
		{"binary beyond the event", binary("shim"), whole(), false, true},
		{"binary beyond the event, parent is not in it", binary("shim"), orphan, false, true},
		{"binary of a parent's parent", binary("nginx"), alone, false, true},
		{"binary of the parent", binary("/sh$"), whole(), false, false},
		{"binary of the parent, not in the event", binary("/sh$"), alone, false, false},
		{"binary, no end", binary("none"), alone, false, false},
	} {
		for _, l := range []struct {
			lineage Lineage
			want    bool
		}{{nil, c.without}, {forebears(), c.with}} {
			f, err := Compiler{Lineage: l.lineage}.Compile([]*tetragon.Filter{c.f}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.Passes(c.e); got != l.want {
				t.Errorf("%s, lineage %v: %v", c.name, l.lineage != nil, got)
			}
		}
	}
}

// TestFiltersLookOnly holds that an event is the same after all filters saw it.
func TestFiltersLookOnly(t *testing.T) {
	t.Parallel()
	e := whole()
	before := proto.Clone(e)
	for _, r := range rows() {
		for _, f := range append(r.holds, r.not...) {
			c, err := Compile([]*tetragon.Filter{f}, nil)
			if err != nil {
				t.Fatal(err)
			}
			c.Passes(e)
		}
	}
	if !proto.Equal(before, e) {
		t.Errorf("%v was made of %v", e, before)
	}
}
