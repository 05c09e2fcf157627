// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hierarchies lists where cgroups are mounted, of version 1 and 2 alike, from
// the text of /proc/self/mountinfo.
func hierarchies(mountinfo string) []string {
	var points []string
	for line := range strings.Lines(mountinfo) {
		// 36 35 0:30 /root /point options [tags...] - type source superoptions
		before, after, _ := strings.Cut(strings.TrimSpace(line), " - ")
		head, tail := strings.Fields(before), strings.Fields(after)
		if len(head) < 6 || len(tail) < 1 || tail[0] != "cgroup" && tail[0] != "cgroup2" {
			continue
		}
		points = append(points, unescape(head[4]))
	}
	return points
}

// unescape undoes the octal escapes of white space in mountinfo.
func unescape(s string) string {
	for _, c := range []string{" ", "\t", "\n", "\\"} {
		s = strings.ReplaceAll(s, fmt.Sprintf(`\%03o`, c[0]), c)
	}
	return s
}

// RemoveCgroups removes the directory name, which is the caller's own, from the
// top of every hierarchy with all that is below and whoever is in it.
func RemoveCgroups(ctx context.Context, name string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	points := hierarchies(string(mounts))
	// What was killed leaves its cgroup a moment later.
	var last error
	err = poll(ctx, func() (bool, error) {
		var errs []error
		for _, point := range points {
			errs = append(errs, removeTree(filepath.Join(point, name)))
		}
		last = errors.Join(errs...)
		return last == nil, nil
	})
	return errors.Join(err, last)
}

// removeTree removes a cgroup, those below it first; one that is gone is no error.
func removeTree(root string) error {
	var dirs []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range slices.Backward(dirs) {
		killAll(dir)
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove cgroup %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// killAll kills the processes in a cgroup. That it did not shows when the cgroup
// cannot be removed.
func killAll(dir string) {
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for line := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(line); err == nil && pid > 1 {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}
