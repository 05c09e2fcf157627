// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// Any number of tasks can be in a system call.
func TestManyCallsReturn(t *testing.T) {
	b := newProbedBench(t)
	testenv.Require(t, able(compile.CanKprobe, b))
	const tasks = 64
	id := b.loadSpec(`  kprobes:
  - call: sys_read
    return: true
    returnArg: {index: 0, type: int64}
    args: [{index: 2, type: uint64}]
    selectors: [{matchArgs: [{index: 2, operator: Equal, values: ["4321"]}], matchReturnArgs: [{index: 0, operator: Equal, values: [8]}]}]
`)
	// Each read of it takes one of what is written.
	fd, err := unix.Eventfd(0, unix.EFD_SEMAPHORE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var all sync.WaitGroup
	for range tasks {
		all.Go(func() {
			if n, err := unix.Read(fd, make([]byte, 4321)); n != 8 || err != nil {
				t.Errorf("read %d: %v", n, err)
			}
		})
	}
	testenv.Eventually(t, time.Minute, "all are in the call", func() error {
		if calls, _ := b.remembered(t); calls != tasks {
			return fmt.Errorf("%d are", calls)
		}
		return nil
	})
	if _, err := unix.Write(fd, []byte{tasks, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	skipped := b.skipped(t)
	if got := b.counters(id); got.Post+skipped != tasks {
		calls, _ := b.remembered(t)
		t.Errorf("%+v and %d skipped, want %d events; %d calls are still remembered", got, skipped, tasks, calls)
		for kind := range bpf.WireKernelErrorKERR_MAX {
			if n := b.errors(t, kind); n != 0 {
				t.Errorf("kernel error %d: %d times", kind, n)
			}
		}
	}
	if n := b.errors(t, bpf.WireKernelErrorKERR_RETURN_MISSED); n != 0 {
		t.Errorf("%d returns were missed", n)
	}
}

// skipped is how often the kernel has skipped the programs of sites, which it may where
// it preempts them.
func (b *bench) skipped(t testing.TB) (n uint64) {
	t.Helper()
	programs, err := b.Programs()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		n += p.Skipped
	}
	preempted, err := kernel.SyscallTracepointsPreempted()
	if err != nil {
		t.Fatal(err)
	}
	if n > 0 && !preempted {
		t.Errorf("programs were skipped %d times", n)
	}
	return n
}
