// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/test/testenv"
)

// What a process lets io_uring do, a worker of the kernel's does, which is a
// thread of the process that no fork event has told of: it is judged as the
// process is.
func TestWorkersOfIOUring(t *testing.T) {
	h := newHost(t)
	testenv.Require(t, testenv.Optional("BPF LSM", func() error { return h.points.Can(compile.CanLSM) }))
	file := filepath.Join(testenv.Dir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.marker = file
	id := h.load("lsmhooks", `  - {hook: file_open, args: [{index: 0, type: file}],
     selectors: [{matchArgs: [{index: 0, operator: Equal, values: ["$M"]}], matchActions: [{action: Override, argError: -61}]}]}
`)
	c, slot := h.container("c")
	inside := h.actorWith(c, syscall.CLONE_NEWUTS, engine.UringVariable+"="+file)
	leaderless := h.actorWith(c, syscall.CLONE_NEWUTS, engine.UringVariable+"="+file+engine.UringLeaderless)
	outside := h.actorWith(h.root, 0, engine.UringVariable+"="+file)
	for name, a := range map[string]*actor{"inside": inside, "leaderless": leaderless, "outside": outside} {
		if got := a.line(); got != "ready" {
			t.Fatalf("%s: %q", name, got)
		}
	}
	open := func(a *actor) int {
		fmt.Fprintln(a.in)
		n, err := strconv.Atoi(a.line())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, step := range []struct {
		name string
		set  []engine.Member
		want int
	}{
		{"without rules", nil, 0},
		{"denied", []engine.Member{{Policy: id, Enforce: true}}, -int(unix.ENODATA)},
		{"monitored", []engine.Member{{Policy: id}}, 0},
	} {
		h.apply(slot, step.set...)
		if got := open(inside); got != step.want {
			t.Errorf("%s: open in the container gives %d, want %d", step.name, got, step.want)
		}
		if got := open(leaderless); got != step.want {
			t.Errorf("%s: open in the container, by a process whose first thread has ended, gives %d, want %d", step.name, got, step.want)
		}
		if got := open(outside); got != 0 {
			t.Errorf("%s: open on the host gives %d", step.name, got)
		}
	}
}

func (a *actor) line() string {
	a.t.Helper()
	line, err := a.out.ReadString('\n')
	if err != nil {
		a.t.Fatalf("read from the actor: %v", err)
	}
	return strings.TrimSpace(line)
}

// hostFeatures is what newHost's policies can use.
func hostFeatures(t testing.TB) kernel.Features {
	t.Helper()
	return kernel.Probe(t.Context(), kernel.Options{Only: []kernel.Feature{kernel.Signal, kernel.LSM}})
}
