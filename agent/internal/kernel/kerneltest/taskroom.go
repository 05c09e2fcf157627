// SPDX-License-Identifier: Apache-2.0

// Package kerneltest lets tests play an older kernel than the running one.
package kerneltest

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/kernel"
)

// taskRoomVariable, set to 1, makes TaskRoom answer as on a kernel without task
// storage.
const taskRoomVariable = "BOLTSEAL_TEST_TASK_ROOM"

// TaskRoom is the room for tasks that programs of this test need: 0 where the
// kernel has task storage, but in the run of [WithoutTaskStorage].
func TaskRoom(tb testing.TB) uint32 {
	tb.Helper()
	if os.Getenv(taskRoomVariable) != "1" {
		only := kernel.Options{Only: []kernel.Feature{kernel.TaskStorage}}
		if kernel.Probe(tb.Context(), only).Has(kernel.TaskStorage) {
			return 0
		}
	}
	room, err := kernel.TaskRoom()
	if err != nil {
		tb.Fatal(err)
	}
	return room
}

// WithoutTaskStorage runs all other tests of the package once more, in a process
// of their own, as on a kernel without task storage. Call it from a test that
// does nothing else, and build what the tests load with TaskRoom.
func WithoutTaskStorage(t *testing.T) {
	if TaskRoom(t) != 0 {
		t.Skip("this run is without task storage already")
	}
	args := []string{"-test.v", "-test.skip=^" + t.Name() + "$"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), taskRoomVariable+"=1")
	out, err := cmd.CombinedOutput()
	passed, skipped := 0, 0
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "--- PASS: "):
			passed++
		case strings.HasPrefix(line, "--- SKIP: "):
			skipped++
		}
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if passed == 0 {
		t.Skipf("all %d tests were skipped without task storage", skipped)
	}
	t.Logf("%d tests passed without task storage, %d were skipped", passed, skipped)
}
