// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/bpf"
)

func (r *rig) mapUse() map[string]MapUse {
	r.t.Helper()
	list, err := r.Maps()
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]MapUse{}
	for _, m := range list {
		all[m.Name] = m
	}
	return all
}

// TestMapsAreCounted: more than one system call reads, and with a task in a container.
func TestMapsAreCounted(t *testing.T) {
	r := newRig(t, nil)
	before := r.mapUse()
	slot := r.slot()
	const more = lookups + 10
	for cgroup := range uint64(more) {
		seal := bpf.WireCgroupSeal{Slot: slot}
		if err := r.programs.cgroup.Maps[bpf.CgroupMapSeals].Update(1<<60+cgroup, seal, ebpf.UpdateAny); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Expect(slot, "/expected"); err != nil {
		t.Fatal(err)
	}
	c, sealed := r.expected("one")
	script(t, c, "read x")
	r.checkTasks(sealed, 1)
	after := r.mapUse()
	for name, want := range map[string]MapUse{
		bpf.CgroupMapSeals:        {Entries: before[bpf.CgroupMapSeals].Entries + more + 1, Capacity: 65536},
		bpf.CgroupMapExpectations: {Entries: 1, Capacity: 4096},
		bpf.CgroupMapTaskSeals:    {Entries: 1, Capacity: before[bpf.CgroupMapTaskSeals].Capacity},
	} {
		// Others on this machine make containers too, but none that this rig knows.
		if want.Name = name; after[name] != want {
			t.Errorf("%+v, want %+v", after[name], want)
		}
	}
}

// TestLossIsCountedBySlot: what does not fit into the ring is charged to the container
// whose it is.
func TestLossIsCountedBySlot(t *testing.T) {
	r := newRig(t, func(o *Options) { o.RingBytes = 1 << 16 })
	quiet := r.slot()
	c, noisy := r.expected("noisy")
	p := script(t, c, "i=0; while [ $i -lt 400 ]; do i=$((i+1)); busybox true; done; echo done; read x")
	if said := p.says(); said != "done" {
		t.Fatalf("said %q", said)
	}
	if r.Lost(noisy) == 0 || r.Lost(quiet) != 0 {
		t.Errorf("the noisy container lost %d, the quiet one %d", r.Lost(noisy), r.Lost(quiet))
	}
}

func TestProgramsAreMeasured(t *testing.T) {
	r := newRig(t, nil)
	on, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		t.Fatal(err)
	}
	defer on.Close()
	c, _ := r.expected("one")
	p := script(t, c, "busybox true; echo done; read x")
	p.says()
	all, err := r.Programs()
	if err != nil {
		t.Fatal(err)
	}
	runs := map[string]uint64{}
	for _, p := range all {
		if runs[p.Name] = p.Runs; p.Runs > 0 && p.Time == 0 {
			t.Errorf("%s ran %d times in no time", p.Name, p.Runs)
		}
	}
	for _, name := range []string{bpf.CgroupProgCgroupMkdir, bpf.ProcessProgSchedProcessExit} {
		if runs[name] == 0 {
			t.Errorf("%s has not run; runs are %v", name, runs)
		}
	}
}
