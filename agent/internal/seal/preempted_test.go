// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"strconv"
	"syscall"
	"testing"

	"github.com/boltseal/boltseal/bpf"
)

// Where the kernel can skip the program at sched_process_exec, a task that forks
// is first taken for what it has executed: as if no exec had been missed.
func TestMissedExecsAreMadeUpFor(t *testing.T) {
	r := newRig(t, func(o *Options) { o.missesExecs = true })
	c, slot := r.expected("c")
	p := script(t, nil, `read x; exec busybox sh -c '
		busybox true; read x; exec busybox unshare -u busybox sh -c "
			read x; busybox sleep 60 & echo \$!; read x"'`)
	pid := p.Process.Pid
	if err := c.Add(pid); err != nil {
		t.Fatal(err)
	}
	r.checkTask(pid, slot, setup)

	p.next() // the runtime's init executes itself, and forks
	r.waitForExec(slot)
	r.checkTask(pid, slot, setup)
	r.checkState(slot, bpf.WireSlotStateSLOT_MAPPED)

	p.next() // the workload is executed, in namespaces of its own
	p.next() // and forks
	child, err := strconv.Atoi(p.says())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(child, syscall.SIGKILL) }()
	r.checkTask(pid, slot, armed)
	r.checkState(slot, bpf.WireSlotStateSLOT_ARMED)
	r.checkBinary(pid)
	r.checkTask(child, slot, armed)
	if h, _ := r.event(bpf.WireEventTypeEVENT_ARMED, slot); int(h.Tgid) != pid {
		t.Errorf("armed by %+v, want process %d", h, pid)
	}
	if n := r.kernelErrors(bpf.WireKernelErrorKERR_EXEC_MISSED); n < 2 {
		t.Errorf("%d missed execs are counted, want at least 2", n)
	}
}
