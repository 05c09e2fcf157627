// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func TestWorkload(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pod        string
		labels     map[string]string
		kind, name string
	}{
		{"web-6d4cf56db6-x7k2p", map[string]string{"pod-template-hash": "6d4cf56db6"}, "Deployment", "web"},
		{"a-b-6d4cf56db6-x7k2p", map[string]string{"pod-template-hash": "6d4cf56db6"}, "Deployment", "a-b"},
		{"web-6d4cf56db6-x7k2p", nil, "", ""},
		{"web-6d4cf56db6-x7k2p", map[string]string{"pod-template-hash": "other"}, "", ""},
		{"6d4cf56db6-x7k2p", map[string]string{"pod-template-hash": "6d4cf56db6"}, "", ""},
		{"db-0", map[string]string{"statefulset.kubernetes.io/pod-name": "db-0"}, "StatefulSet", "db"},
		{"db-12", map[string]string{"statefulset.kubernetes.io/pod-name": "db-12"}, "StatefulSet", "db"},
		{"db-0", map[string]string{"statefulset.kubernetes.io/pod-name": "db-1"}, "", ""},
		{"db", map[string]string{"statefulset.kubernetes.io/pod-name": "db"}, "", ""},
		{"db-", map[string]string{"statefulset.kubernetes.io/pod-name": "db-"}, "", ""},
		{"agent-x7k2p", map[string]string{"controller-revision-hash": "5c", "pod-template-generation": "1"}, "DaemonSet", "agent"},
		{"agent-x7k2p", map[string]string{"controller-revision-hash": "5c"}, "", ""},
		{"agent-x7k", map[string]string{"controller-revision-hash": "5c", "pod-template-generation": "1"}, "", ""},
		{"sum-28-x7k2p", map[string]string{"job-name": "sum-28"}, "Job", "sum-28"},
		{"sum-28-x7k2p", map[string]string{"batch.kubernetes.io/job-name": "sum-28"}, "Job", "sum-28"},
		{"other-x7k2p", map[string]string{"job-name": "sum-28"}, "", ""},
		{"", nil, "", ""},
	} {
		if kind, name := workload(&container.Pod{Name: test.pod, Labels: test.labels}); kind != test.kind || name != test.name {
			t.Errorf("%q %v: %q %q, want %q %q", test.pod, test.labels, kind, name, test.kind, test.name)
		}
	}
}

// TestOwnPartOfAPod is the pid, the start and the rest of what two processes of a
// container share or do not.
func TestOwnPartOfAPod(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	yes := true
	c := inPod()
	c.Privileged, c.Pod.Labels = &yes, map[string]string{"statefulset.kubernetes.io/pod-name": "web-1"}
	if err := w.containers.Put(c); err != nil {
		t.Fatal(err)
	}
	started := uint64(0)
	w.Started = func(of *container.Container) uint64 {
		if of != c {
			t.Errorf("asked of %s", of.ID)
		}
		return started
	}
	show := func(tgid, nspid uint32) *tetragon.Pod {
		w.Handle(&event.Exec{Header: head(300*second, tgid, 5, 50), NSPid: nspid, Parent: childOf(1), Binary: "/x"})
		return w.sink.take(t)[0].GetProcessExec().GetProcess().GetPod()
	}
	want := podMessage()
	want.PodLabels, want.Workload, want.WorkloadKind = c.Pod.Labels, "web", "StatefulSet"
	want.Container.StartTime, want.Container.SecurityContext = nil, &tetragon.SecurityContext{Privileged: true}
	check := func(what string, got *tetragon.Pod) {
		t.Helper()
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", what, diff)
		}
	}
	check("start and pid not known", show(700, 0))
	started = 290 * second
	want.Container.StartTime, want.Container.Pid = at(290*second), wrapperspb.UInt32(1)
	check("first", show(701, 1))
	want.Container.Pid = wrapperspb.UInt32(9)
	check("second", show(702, 9))
}

func TestMaybeExecProbe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := inPod()
	c.InitPID = 200
	plain := &container.Container{ID: "plain", Name: "plain", Slot: 6, CgroupID: 60}
	for _, c := range []*container.Container{c, plain} {
		if err := w.containers.Put(c); err != nil {
			t.Fatal(err)
		}
	}
	w.start(t)
	for _, test := range []struct {
		name                      string
		tgid, nspid, parent, slot uint32
		want                      bool
	}{
		{"put in by a runtime", 300, 17, 100, 5, true},
		{"the first process", 200, 7, 100, 5, false},
		{"the first of the pid namespace", 301, 1, 100, 5, false},
		{"not in the pid namespace yet", 302, 302, 100, 5, false},
		{"of the container's own", 303, 18, 200, 5, false},
		{"of one that was put in", 304, 19, 300, 5, false},
		{"in no pod", 305, 20, 100, 6, false},
		{"parent not known", 306, 21, 999, 5, false},
		{"pid not known", 307, 0, 100, 5, false},
	} {
		e := &event.Exec{Header: head(400*second, test.tgid, test.slot, uint64(test.slot)*10), NSPid: test.nspid, Parent: childOf(test.parent)}
		w.Handle(e)
		if got := w.sink.take(t)[0].GetProcessExec().GetProcess().GetPod().GetContainer().GetMaybeExecProbe(); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	w.Handle(&event.Fork{Header: head(500*second, 500, 5, 50), NSPid: 22, Parent: childOf(100)})
	w.Handle(&event.Exit{Header: head(501*second, 500, 5, 50)})
	if w.sink.take(t)[0].GetProcessExit().GetProcess().GetPod().GetContainer().GetMaybeExecProbe() {
		t.Error("a process that has executed nothing")
	}
}

// names is users by their ids.
type names map[uint32]string

func (n names) Name(uid uint32) string { return n[uid] }

func TestUsersOfTheHost(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		users  Users
		slot   uint32
		cgroup uint64
		want   string
	}{
		"host":         {names{7: "seven\xff"}, 0, 9, "seven\uFFFD"},
		"container":    {names{7: "seven"}, 5, 50, ""},
		"no such user": {names{8: "eight"}, 0, 9, ""},
		"disabled":     {nil, 0, 9, ""},
	} {
		w := newWorld(t)
		w.Users = test.users
		w.Handle(&event.Exec{Header: head(100*second, 90, test.slot, test.cgroup)})
		got := w.sink.take(t)[0].GetProcessExec()
		if got.GetProcess().GetUser().GetName() != test.want || (test.want == "") != (got.GetProcess().GetUser() == nil) {
			t.Errorf("%s: %v", name, got.GetProcess().GetUser())
		}
		if got.GetParent().GetUser() != nil {
			t.Errorf("%s: parent of which only ids are known: %v", name, got.GetParent().GetUser())
		}
	}
}
