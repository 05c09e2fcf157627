// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// ErrDeleted is returned for a process whose cgroup has been removed: the
// process is about to be gone itself.
var ErrDeleted = errors.New("its cgroup has been removed")

// ErrOutside is returned for a process that is outside of the cgroup namespace
// of the caller, so that its path cannot be told.
var ErrOutside = errors.New("its cgroup is outside of this cgroup namespace")

// Location says where a process is.
type Location struct {
	// Path is the cgroup's path below the root.
	Path string
	// ID is the cgroup's id.
	ID uint64
}

// OfPID finds the cgroup of a process by its id in the caller's pid namespace.
// A process in the root cgroup is ErrRoot, so that no host-wide location is
// ever taken for a container's. A process that is gone is fs.ErrNotExist.
// Process ids are used again: a caller who did not just verify whom the pid
// belongs to has to do so afterwards.
func (r Root) OfPID(pid int) (Location, error) {
	loc, err := r.ofPID(pid)
	if err != nil {
		return Location{}, fmt.Errorf("find cgroup of process %d: %w", pid, err)
	}
	return loc, nil
}

func (r Root) ofPID(pid int) (Location, error) {
	if pid <= 0 {
		return Location{}, errors.New("not a process id")
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return Location{}, err
	}
	p, err := parseProc(text)
	if err != nil {
		return Location{}, err
	}
	id, err := r.ID(p)
	if err != nil {
		// " (deleted)" is a remark unless a cgroup has that very name.
		if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(p, " (deleted)") {
			return Location{}, ErrDeleted
		}
		return Location{}, err
	}
	if id == rootID || p == "/" {
		return Location{}, ErrRoot
	}
	return Location{Path: p, ID: id}, nil
}

// parseProc returns the path on the unified hierarchy's line of a
// /proc/PID/cgroup file. The kernel allows any byte in names but a newline.
func parseProc(text []byte) (string, error) {
	for line := range bytes.Lines(text) {
		p, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\n"), "0::")
		if !ok {
			continue
		}
		if p == "/.." || strings.HasPrefix(p, "/../") {
			return "", ErrOutside
		}
		if err := checkPath(p); err != nil {
			return "", err
		}
		return p, nil
	}
	return "", ErrNoUnified
}
