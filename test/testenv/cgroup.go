// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv/probe"
)

// Cgroup2Root returns where the root of the v2 hierarchy is mounted.
func Cgroup2Root(tb testing.TB) string {
	tb.Helper()
	root, err := probe.Cgroup2Root()
	if err != nil {
		tb.Fatalf("testenv: %v", err)
	}
	return root
}

// Cgroup is a throw-away cgroup in the v2 hierarchy.
type Cgroup struct {
	// Path is the cgroup's path below the root of the hierarchy, with a leading
	// slash; Dir is its directory.
	Path, Dir string
	// ID is what the kernel calls it: bpf_get_current_cgroup_id returns it.
	ID uint64

	dir *os.File
}

// TempCgroup makes a cgroup below the root. When the test ends all processes in
// it are killed, and it is removed with all cgroups below it.
func TempCgroup(tb testing.TB) *Cgroup {
	tb.Helper()
	dir, err := os.MkdirTemp(Cgroup2Root(tb), of(tb).name+"-")
	if err != nil {
		tb.Fatalf("testenv: make a cgroup: %v", err)
	}
	tb.Cleanup(func() {
		Eventually(tb, 10*time.Second, "the cgroup is gone", func() error { return removeTree(dir) })
	})
	return openCgroup(tb, dir)
}

// Child makes a cgroup below c; it goes with c.
func (c *Cgroup) Child(tb testing.TB, name string) *Cgroup {
	tb.Helper()
	dir := filepath.Join(c.Dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		tb.Fatalf("testenv: make a cgroup: %v", err)
	}
	return openCgroup(tb, dir)
}

func openCgroup(tb testing.TB, dir string) *Cgroup {
	tb.Helper()
	id, err := CgroupID(dir)
	if err != nil {
		tb.Fatalf("testenv: %v", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		tb.Fatalf("testenv: open a cgroup: %v", err)
	}
	tb.Cleanup(func() { _ = f.Close() })
	return &Cgroup{Path: dir[len(Cgroup2Root(tb)):], Dir: dir, ID: id, dir: f}
}

// CgroupID returns the kernel's id of the v2 cgroup whose directory is dir.
func CgroupID(dir string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, fmt.Errorf("stat cgroup %s: %w", dir, err)
	}
	return st.Ino, nil
}

// Born makes cmd start inside the cgroup: it is there before its first instruction.
func (c *Cgroup) Born(cmd *exec.Cmd) *exec.Cmd {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD = true
	cmd.SysProcAttr.CgroupFD = int(c.dir.Fd())
	return cmd
}

// Add moves the process pid into the cgroup.
func (c *Cgroup) Add(pid int) error {
	if err := write(filepath.Join(c.Dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
		return fmt.Errorf("move process %d to %s: %w", pid, c.Path, err)
	}
	return nil
}

// removeTree kills and removes dir and all cgroups below it.
func removeTree(dir string) error {
	var errs []error
	children, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	_ = write(filepath.Join(dir, "cgroup.kill"), "1") // kills what is below too
	for _, child := range children {
		if child.IsDir() {
			errs = append(errs, removeTree(filepath.Join(dir, child.Name())))
		}
	}
	return errors.Join(append(errs, err, removeCgroup(dir))...)
}
