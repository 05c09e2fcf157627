// SPDX-License-Identifier: Apache-2.0

// Package kerneltest lets tests play an older kernel than the running one.
package kerneltest

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/kernel"
)

// taskRoomVariable, set to 1, makes TaskRoom answer as on a kernel without task
// storage.
const taskRoomVariable = "BOLTSEAL_TEST_TASK_ROOM"

// TB is what this package needs of a testing.TB.
type TB interface {
	Helper()
	Name() string
	Context() context.Context
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// TaskRoom is the room for tasks that programs of this test need: 0 where the
// kernel has task storage, but in the run of [WithoutTaskStorage].
func TaskRoom(tb TB) uint32 {
	tb.Helper()
	if os.Getenv(taskRoomVariable) != "1" {
		only := kernel.Options{Only: []kernel.Feature{kernel.TaskStorage}}
		if kernel.Probe(tb.Context(), only).Has(kernel.TaskStorage) {
			return 0
		}
	}
	room, err := kernel.TaskRoom()
	if err != nil {
		tb.Fatalf("count possible tasks: %v", err)
	}
	return room
}

// WithoutTaskStorage runs all other tests of the package once more, in a process
// of their own, as on a kernel without task storage. Call it from a test that
// does nothing else, and build what the tests load with TaskRoom. Tests named in
// skip, which tasks are no part of, are not run again.
func WithoutTaskStorage(tb TB, skip ...string) {
	tb.Helper()
	if TaskRoom(tb) != 0 {
		tb.Skipf("this run is without task storage already")
	}
	cmd := exec.CommandContext(tb.Context(), "/proc/self/exe", "-test.v", "-test.skip=^("+strings.Join(append(skip, tb.Name()), "|")+")$")
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
		tb.Fatalf("%v\n%s", err, out)
	}
	if passed == 0 {
		tb.Skipf("all %d tests were skipped without task storage", skipped)
	}
	tb.Logf("%d tests passed without task storage, %d were skipped", passed, skipped)
}
