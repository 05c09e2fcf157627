// SPDX-License-Identifier: Apache-2.0

//go:build linux

package room

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long what is killed may take to end.
const patience = 30 * time.Second

// children are the processes whose parent is one, in all of its threads.
func children(pid int) ([]int, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	var all []int
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		for word := range strings.FieldsSeq(string(text)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				return nil, err
			}
			all = append(all, child)
		}
	}
	return all, nil
}

// endOrphans kills all children and their children, until there is none.
func endOrphans() error {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		all, err := children(os.Getpid())
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes are left: %v", all)
		}
		for _, pid := range all {
			end(pid)
			var status unix.WaitStatus
			_, _ = unix.Wait4(pid, &status, unix.WNOHANG, nil) // there next time if it has not ended
		}
	}
}

// end kills a process and all that it started.
func end(pid int) {
	below, _ := children(pid)
	_ = unix.Kill(pid, unix.SIGKILL)
	for _, child := range below {
		end(child)
	}
}

const cgroupRoot = "/sys/fs/cgroup"

// cgroups are those at the top of each hierarchy.
func cgroups() (map[string]bool, error) {
	known := map[string]bool{}
	for _, pattern := range []string{cgroupRoot + "/*", cgroupRoot + "/*/*"} {
		all, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, dir := range all {
			known[dir] = true
		}
	}
	return known, nil
}

// removeNew removes the cgroups that engines have made: they leave some in every hierarchy.
// Tests remove their own.
func removeNew(known map[string]bool) error {
	now, err := cgroups()
	if err != nil {
		return err
	}
	var errs []error
	for dir := range now {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() || known[dir] || strings.HasPrefix(filepath.Base(dir), "bst-") {
			continue
		}
		errs = append(errs, removeTree(dir))
	}
	return errors.Join(errs...)
}

// removeTree removes a cgroup and those below it, as soon as their processes are gone.
func removeTree(top string) error {
	var all []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, path)
		}
		return nil // it may have been removed meanwhile
	})
	if err != nil {
		return err
	}
	slices.Reverse(all)
	for _, dir := range all {
		for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			err := unix.Rmdir(dir)
			if err == nil || errors.Is(err, unix.ENOENT) {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
				return fmt.Errorf("remove cgroup %s: %w", dir, err)
			}
		}
	}
	return nil
}
