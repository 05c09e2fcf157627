// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv/probe"
)

// sweepTime bounds how long the keeper tries to remove left-overs.
const sweepTime = 20 * time.Second

// keep waits for the end of the test process, which closes standard input, and
// removes all that the session made. It returns the keeper's exit status.
func keep(name string) int {
	// Nothing that a session leaves may hold up the removal of the rest.
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := sweep(name, sweepTime); err != nil {
		fmt.Fprintf(os.Stderr, "testenv: remove what session %s left: %v\n", name, err)
		return 1
	}
	return 0
}

// sweep removes processes, containers, cgroups, mounts and files of the session
// again and again until none is left or time is up.
func sweep(name string, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		err := sweepOnce(name)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-time.After(20 * time.Millisecond)
	}
}

func sweepOnce(name string) error {
	var errs []error
	dir := sessionDir(name)
	deleteContainers(filepath.Join(dir, runcState))
	if processes := processesOf(name); len(processes) > 0 {
		for _, p := range processes {
			_ = unix.Kill(p.pid, unix.SIGKILL) // it may be gone already
		}
		errs = append(errs, fmt.Errorf("%d processes still run", len(processes)))
	}
	removeOwned(dir)
	for _, cgroup := range cgroupsOf(name) {
		errs = append(errs, removeCgroup(cgroup))
	}
	mounts, err := probe.Mounts()
	errs = append(errs, err)
	for i := len(mounts) - 1; i >= 0; i-- { // the newest first: it may lie on another
		if within(mounts[i].Point, dir) {
			errs = append(errs, unix.Unmount(mounts[i].Point, unix.MNT_DETACH))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err // the files may still be in use
	}
	return os.RemoveAll(dir)
}

// deleteContainers asks runc to remove every container in its state directories.
func deleteContainers(root string) {
	containers, _ := filepath.Glob(filepath.Join(root, "*", "*"))
	for _, c := range containers {
		// What it cannot do shows as a process or cgroup that is still there.
		_ = exec.Command("runc", "--root", filepath.Dir(c), "delete", "--force", filepath.Base(c)).Run()
	}
}
