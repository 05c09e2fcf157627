// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/kernel/kerneltest"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// A task whose exec was missed, as it can be where programs are preempted, is
// taken for what it executes as soon as rules are looked up for it.
func TestMissedExecIsMadeUpForAtSites(t *testing.T) {
	testenv.Require(t, testenv.Optional("task storage", func() error {
		if kerneltest.TaskRoom(t) != 0 {
			return errors.New("this kernel is older than those that preempt programs")
		}
		return nil
	}))
	h := newHostWhere(t, true)
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	id := h.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], matchBinaries: [{operator: In, values: ["` + self + `"]}],
       matchActions: [{action: Sigkill}]}]}
`)
	c, slot := h.container("c")
	h.apply(slot, engine.Member{Policy: id, Enforce: true})
	workload := h.actor(c, syscall.CLONE_NEWUTS)
	workload.act(0)
	h.forgetExec(workload.Process.Pid)
	if workload.act(1) {
		t.Error("a workload whose exec was missed lives after the act")
	}
	counts, err := h.seals.Errors()
	if err != nil || counts[bpf.WireKernelErrorKERR_EXEC_MISSED] != 1 {
		t.Errorf("kernel errors %v (%v), want one missed exec", counts, err)
	}
}

// forgetExec makes a task's seal what it was before the task executed anything.
func (h *host) forgetExec(pid int) {
	h.t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		h.t.Fatalf("open process %d: %v", pid, err)
	}
	defer unix.Close(fd)
	seals := h.seals.SharedMaps()[bpf.SiteMapTaskSeals]
	var seal bpf.WireTaskSeal
	if err := seals.Lookup(uint32(fd), &seal); err != nil {
		h.t.Fatalf("look up seal: %v", err)
	}
	if seal.State != uint32(bpf.WireTaskStateTASK_ARMED) || seal.ExecId == 0 {
		h.t.Errorf("the workload's seal is %+v", seal)
	}
	seal.ExecId--
	seal.State, seal.Binary = uint32(bpf.WireTaskStateTASK_SETUP), bpf.WireStringHash{}
	if err := seals.Update(uint32(fd), seal, ebpf.UpdateExist); err != nil {
		h.t.Fatalf("change seal: %v", err)
	}
}
