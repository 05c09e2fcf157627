// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTracefs skips only where the test may not even mount.
func openTracefs(t *testing.T) *Tracefs {
	t.Helper()
	tracefs, err := OpenTracefs()
	if err != nil && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)) {
		t.Skipf("no right to open tracefs: %v", err)
	}
	if errors.Is(err, unix.ENODEV) {
		t.Skipf("this kernel has no tracefs: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tracefs.Close(); err != nil {
			t.Error(err)
		}
	})
	return tracefs
}

func TestOpenTracefsMountsNothing(t *testing.T) {
	mounts := func() []byte {
		text, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	before := mounts()
	tracefs := openTracefs(t)
	if after := mounts(); !bytes.Equal(before, after) {
		t.Errorf("mounts changed:\n%s", after)
	}
	if tracefs.Where() != "detached mount" {
		t.Skipf("tracefs came from %s", tracefs.Where())
	}
	fd, err := unix.Openat(int(tracefs.root.Fd()), "trace_marker", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if !errors.Is(err, unix.EROFS) {
		unix.Close(fd)
		t.Errorf("tracefs opened for writing: %v", err)
	}
}

func TestTracefsKnowsEvents(t *testing.T) {
	tracefs := openTracefs(t)
	tests := []struct {
		group, event string
		want         bool
	}{
		{"sched", "sched_process_exec", true},
		{"sched", "sched_process_exec2", false},
		{"nope", "sched_process_exec", false},
		{"sched", "", false},
		{"", "sched", false},
		{"..", "events", false},
		{"sched/sched_process_exec", "..", false},
		{"sched", "../sched/sched_process_exec", false},
		{"sched", ".", false},
		{"sched", "sched_process_exec\x00", false},
		{"sched", strings.Repeat("x", 5000), false},
	}
	for _, tt := range tests {
		got, err := tracefs.Exists(tt.group, tt.event)
		if err != nil || got != tt.want {
			t.Errorf("Exists(%q, %.40q) = %v, %v", tt.group, tt.event, got, err)
		}
		if f, err := tracefs.Format(tt.group, tt.event); errors.Is(err, ErrNoEvent) == tt.want {
			t.Errorf("Format(%q, %.40q) = %+v, %v", tt.group, tt.event, f, err)
		}
	}
	f, err := tracefs.Format("sched", "sched_process_exec")
	if err != nil {
		t.Fatal(err)
	}
	filename, ok := f.Field("filename")
	if f.Name != "sched_process_exec" || f.ID == 0 || !ok || !filename.DataLoc || filename.Size != 4 || f.Fields[0].Name != "common_type" {
		t.Errorf("sched_process_exec: %+v", f)
	}
}

// Every event of the running kernel parses, and what the parser makes of array
// declarations agrees with the sizes that the kernel says.
func TestTracefsParsesEveryEvent(t *testing.T) {
	tracefs := openTracefs(t)
	ids := map[uint64]string{}
	for _, group := range children(t, tracefs, "events") {
		for _, event := range children(t, tracefs, filepath.Join("events", group)) {
			f, err := tracefs.Format(group, event)
			if err != nil {
				t.Error(err)
				continue
			}
			name := group + "/" + event
			if other := ids[f.ID]; other != "" && group != "ftrace" {
				t.Errorf("%s and %s have id %d", name, other, f.ID)
			}
			ids[f.ID] = name
			if f.Name != event || len(f.Fields) < 4 {
				t.Errorf("%s: %+v", name, f)
			}
			for _, field := range f.Fields {
				if strings.ContainsAny(field.Name+field.Type, "[]();") || (field.ArrayLen > 0 && field.Size%field.ArrayLen != 0) || (field.DataLoc && field.Size != 4) {
					t.Errorf("%s: %+v", name, field)
				}
			}
		}
	}
	if len(ids) < 100 {
		t.Errorf("only %d events found", len(ids))
	}
}

// children lists the directories in a directory of tracefs.
func children(t *testing.T, tracefs *Tracefs, dir string) []string {
	t.Helper()
	fd, err := unix.Openat(int(tracefs.root.Fd()), dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names
}
