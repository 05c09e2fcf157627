// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv/probe"
)

// leftovers lists, a line each, the processes, cgroups and mounts that carry the
// session's name. The keeper is not among them.
func leftovers(name string) []string {
	var left []string
	for _, p := range processesOf(name) {
		left = append(left, p.String())
	}
	for _, c := range cgroupsOf(name) {
		left = append(left, "cgroup "+c)
	}
	mounts, err := probe.Mounts()
	if err != nil {
		left = append(left, "mounts cannot be listed: "+err.Error())
	}
	for _, m := range mounts {
		if within(m.Point, sessionDir(name)) {
			left = append(left, "mount "+m.Point)
		}
	}
	sort.Strings(left)
	return left
}

// process is one that belongs to a session.
type process struct {
	pid     int
	command string
}

func (p process) String() string { return fmt.Sprintf("process %d %q", p.pid, p.command) }

// processesOf lists processes that have the session's name in their command
// line, environment, program or cgroups, and children of this process; not this
// process and its keeper.
func processesOf(name string) []process {
	var found []process
	pids, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range pids {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		// Each may fail: the process can be gone at any time.
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if strings.Contains(string(environ), keeperVariable+"="+name) {
			continue
		}
		command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		cgroup, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		exe, _ := os.Readlink(filepath.Join(dir, "exe"))
		if !strings.Contains(strings.Join([]string{string(environ), string(command), string(cgroup), exe}, "\n"), name) {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil || state(string(stat)) == "Z" || state(string(stat)) == "X" {
			continue
		}
		found = append(found, process{pid: pid, command: strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " "))})
	}
	return found
}

// state returns the state in a line of /proc/PID/stat: Z and X are of tasks that
// have ended, T of those that are stopped.
func state(stat string) string {
	// The name before it may have spaces and parentheses in it.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) == 0 {
		return ""
	}
	return fields[0]
}

// cgroupsOf lists the cgroups of all hierarchies whose own name has the
// session's in it, and those below them, the deepest first.
func cgroupsOf(name string) []string {
	roots, _ := probe.CgroupRoots()
	var found []string
	for _, root := range roots {
		// Directories come and go while the tree is read; what is gone is no left-over.
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() && strings.Contains(strings.TrimPrefix(path, root), name) {
				found = append(found, path)
			}
			return nil //nolint:nilerr // see above
		})
	}
	sort.Slice(found, func(i, j int) bool { return len(found[i]) > len(found[j]) })
	return found
}

// removeCgroup kills what is in the cgroup dir and removes it. A cgroup that is
// gone is no error; one that is still in use is.
func removeCgroup(dir string) error {
	// Only v2 has the file, and not for threads; processes are killed by name too.
	_ = write(filepath.Join(dir, "cgroup.kill"), "1")
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	return nil
}

// write writes value to a file that is there already.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}
