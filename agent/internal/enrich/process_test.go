// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func podMessage() *tetragon.Pod {
	c := inPod()
	return &tetragon.Pod{
		Namespace: "prod", Name: "web-1", Uid: "u-1", PodLabels: c.Pod.Labels, PodAnnotations: c.Pod.Annotations,
		Container: &tetragon.Container{
			Id: c.ID, Name: "web", Image: &tetragon.Image{Id: c.Image, Name: c.Image}, StartTime: timestamppb.New(c.Added),
		},
	}
}

func TestUnknownProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.known[ruleKey{3, 4, 1}] = killRule()
	w.Handle(siteEvent([]int{1}, nil))
	got := w.sink.take(t)[0].GetProcessTracepoint()
	if got.GetProcess().GetFlags() != "miss" || got.GetProcess().GetPid().GetValue() != 200 || got.GetProcess().GetUid().GetValue() != 7 ||
		got.GetProcess().GetPod().GetName() != "web-1" || got.Parent != nil {
		t.Errorf("%v", got)
	}
}

func TestContainers(t *testing.T) {
	t.Parallel()
	plain := &container.Container{ID: "short", Name: "plain", Slot: 6, CgroupID: 60, Late: true, Added: boot}
	untagged := &container.Container{ID: "x", Name: "x", Image: "busybox:1", Slot: 7, CgroupID: 70}
	for _, test := range []struct {
		name   string
		slot   uint32
		cgroup uint64
		docker string
		pod    *tetragon.Pod
	}{
		{"by slot, wherever the process is", 5, 60, "0123456789012345678901234567890", podMessage()},
		{"by cgroup, for one without a seal", 0, 50, "0123456789012345678901234567890", podMessage()},
		{"by cgroup, when there was no slot", 1, 50, "0123456789012345678901234567890", podMessage()},
		{"in no pod, late", 6, 60, "short", &tetragon.Pod{Container: &tetragon.Container{Id: "short", Name: "plain"}}},
		{
			"without a time", 7, 70, "x",
			&tetragon.Pod{Container: &tetragon.Container{Id: "x", Name: "x", Image: &tetragon.Image{Name: "busybox:1"}}},
		},
		{"host", 0, 9, "", nil},
		{"host, cgroup not known", 0, 0, "", nil},
		{"slot of a container that nobody told of", 77, 770, "", nil},
	} {
		w := newWorld(t)
		for _, c := range []*container.Container{plain, untagged} {
			if err := w.containers.Put(c); err != nil {
				t.Fatal(err)
			}
		}
		w.Handle(&event.Exec{Header: head(100*second, 90, test.slot, test.cgroup)})
		got := w.sink.take(t)[0].GetProcessExec().GetProcess()
		if diff := cmp.Diff(test.pod, got.GetPod(), protocmp.Transform()); diff != "" || got.GetDocker() != test.docker {
			t.Errorf("%s: docker %q, pod want -, got +:\n%s", test.name, got.GetDocker(), diff)
		}
	}
}

// TestContainerIsThatOfTheEvent: a process of a container that is sealed late has
// been known before, without a container.
func TestContainerIsThatOfTheEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(t)
	w.rules.known[ruleKey{3, 4, 1}] = killRule()
	e := siteEvent([]int{1}, nil)
	e.Tgid, e.Start, e.CgroupID = 100, 100*second, 51
	w.Handle(e)
	if got := w.sink.take(t)[0].GetProcessTracepoint().GetProcess(); got.GetBinary() != "/usr/bin/runc" || got.GetPod().GetName() != "web-1" {
		t.Errorf("%v", got)
	}
}

// TestMessagesFollowTheRegistry: a container that becomes known late is in all
// messages from then on.
func TestMessagesFollowTheRegistry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules.known[ruleKey{3, 4, 1}] = killRule()
	name := func() string {
		w.Handle(siteEvent([]int{1}, nil))
		return w.sink.take(t)[0].GetProcessTracepoint().GetProcess().GetPod().GetContainer().GetName()
	}
	before := name()
	renamed := *inPod()
	renamed.Name = "renamed"
	if err := w.containers.Put(&renamed); err != nil {
		t.Fatal(err)
	}
	if after := name(); before != "web" || after != "renamed" {
		t.Errorf("%q, then %q", before, after)
	}
}

func TestBytesThatAreNoText(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rule := killRule()
	rule.Message, rule.Tags[0], rule.Args[0].Label = "m\xe2\x82", "t\xff", "l\xff"
	w.rules.known[ruleKey{3, 4, 1}] = rule
	bad := &container.Container{
		ID: "\xffid", Name: "\xff", Image: "\xff", Slot: 8, CgroupID: 80,
		Pod: &container.Pod{Name: "\xff", Namespace: "\xff", UID: "\xff", Labels: map[string]string{"\xff": "\xff"}},
	}
	if err := w.containers.Put(bad); err != nil {
		t.Fatal(err)
	}
	w.Handle(&event.Exec{Header: head(100*second, 200, 8, 80), Binary: "/\xff", Args: []string{"\xff", "a\xffb", "\xe2\x82"}, Cwd: "/\xc0"})
	e := siteEvent([]int{1}, nil)
	e.Strings[1].Value = "/etc/\xed\xa0\x80"
	w.Handle(e)
	messages := w.sink.take(t) // marshals them
	if got := messages[0].GetProcessExec().GetProcess(); got.GetArguments() != "a\uFFFDb \uFFFD" || got.GetBinary() != "/\uFFFD" {
		t.Errorf("%v", got)
	}
	if got := messages[1].GetProcessTracepoint().GetArgs()[0].GetStringArg(); got != "/etc/\uFFFD" {
		t.Errorf("%q", got)
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{"sh"}, ""},
		{[]string{"sh", "-c", "a b"}, `-c "a b"`},
		{[]string{"sh", "", "\t", `"`}, "\"\" \"\t\" \""},
	} {
		if got := arguments(test.args); got != test.want {
			t.Errorf("%q: %q, want %q", test.args, got, test.want)
		}
	}
}
