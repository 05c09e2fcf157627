// SPDX-License-Identifier: Apache-2.0

package engine_test

import (
	"fmt"
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

// What a program of a container starts is killed for it, there and nowhere else.
func TestChildrenInAContainerAreFollowed(t *testing.T) {
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
       matchBinaries: [{operator: In, values: ["` + dir + `/sh"], followChildren: true}]}]}
`)
	a, slot := h.container("a")
	b, _ := h.container("b")
	h.apply(slot, engine.Member{Policy: id, Enforce: true})
	for _, c := range []struct {
		name, shell string
		in          *testenv.Cgroup
		killed      bool
	}{
		{"a child of the program", "sh", a, true},
		{"a child of another program", "ash", a, false},
		{"a child of the program in another container", "sh", b, false},
	} {
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, c.shell), "-c",
			"("+dir+"/chroot "+h.marker+" /x 2>/dev/null; echo $?)")
		c.in.Born(cmd)
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUTS
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", c.name, err, out)
		}
		// 137 is death by SIGKILL; an act that is let through fails, as nothing is there.
		killed := strings.HasSuffix(strings.TrimSpace(string(out)), fmt.Sprint(128+int(syscall.SIGKILL)))
		if killed != c.killed {
			t.Errorf("%s: killed %v, want %v: %s", c.name, killed, c.killed, out)
		}
	}
}
