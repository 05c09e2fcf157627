// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/probe"
)

// What a program of a container starts is killed for it, there and nowhere else;
// what it has started stays so when the program has ended.
func TestChildrenInAContainerAreFollowed(t *testing.T) {
	for _, filter := range []string{
		"matchBinaries: [{operator: In, values: [$D/sh], followChildren: true}]",
		"matchParentBinaries: [{operator: In, values: [$D/sh]}]",
		"matchParentBinaries: [{operator: In, values: [$D/sh], followChildren: true}]",
		// Of a parent that has ended nobody can tell the path: a rule that enforces takes it for one that fits.
		"matchParentBinaries: [{operator: Postfix, values: [$D/sh]}]",
	} {
		t.Run(filter, func(t *testing.T) { childrenAreFollowed(t, filter) })
	}
}

func childrenAreFollowed(t *testing.T, filter string) {
	h := newHost(t)
	dir := testenv.Dir(t)
	box, err := probe.Busybox()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(box)
	if err != nil {
		t.Fatal(err)
	}
	for _, applet := range []string{"sh", "ash", "chroot"} {
		if err := os.WriteFile(filepath.Join(dir, applet), text, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	id := h.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Equal, values: ["$M"]}], matchActions: [{action: Sigkill}],
       ` + strings.ReplaceAll(filter, "$D", dir) + `}]}
`)
	a, slot := h.container("a")
	b, _ := h.container("b")
	h.apply(slot, engine.Member{Policy: id, Enforce: true})
	for _, c := range []struct {
		name, shell string
		in          *testenv.Cgroup
		command     string
		kills       uint64
	}{
		{"a child of the program", "sh", a, "$ACT; true", 1},
		{"a child of another program", "ash", a, "$ACT; true", 0},
		{"a child of the program in another container", "sh", b, "$ACT; true", 0},
		// It waits until it is an orphan: its parent is then the host's.
		{"an orphan of the program", "sh", a, "(while read -r pid comm state parent rest </proc/self/stat && [ $parent = $MAIN ]; do sleep 0.1; done; exec $ACT) & exit 0", 1},
	} {
		before, err := h.Counters(id)
		if err != nil {
			t.Fatal(err)
		}
		command := strings.ReplaceAll(c.command, "$ACT", dir+"/chroot "+h.marker+" /x 2>/dev/null")
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, c.shell), "-c", "MAIN=$$; "+command)
		c.in.Born(cmd)
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUTS
		// The output ends with the last process that has it.
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", c.name, err, out)
		}
		if after, err := h.Counters(id); err != nil || after.Signal-before.Signal != c.kills {
			t.Errorf("%s: killed %d times (%v), want %d", c.name, after.Signal-before.Signal, err, c.kills)
		}
	}
}
