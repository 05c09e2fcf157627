// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killPatience bounds how long Kill follows processes that go on forking.
const killPatience = 10 * time.Second

// Procs lists the processes in the cgroup at p itself, not those of its
// children, by their ids in the caller's pid namespace. The kernel may list
// one twice and in any order. A threaded cgroup has no list of processes:
// that is EOPNOTSUPP.
func (r Root) Procs(p string) ([]int, error) {
	text, err := r.read(p, "cgroup.procs")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for line := range bytes.Lines(text) {
		pid, err := strconv.Atoi(strings.TrimSpace(string(line)))
		if err != nil {
			return nil, fmt.Errorf("list processes of cgroup %q: %w", p, err)
		}
		if pid == 0 {
			return nil, fmt.Errorf("list processes of cgroup %q: it holds a process outside of this pid namespace", p)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// Kill sends SIGKILL to every process in the cgroup at p and below. With
// cgroup.kill (Linux 5.14) no fork escapes it, and Kill does not wait for the
// processes to be gone. On older kernels the cgroup is frozen meanwhile, and
// Kill returns when it is empty, or with an error after ten seconds. Killing
// the root cgroup is refused with ErrRoot, a cgroup that is gone is
// fs.ErrNotExist.
func (r Root) Kill(p string) error {
	if err := r.mayKill(p); err != nil {
		return fmt.Errorf("kill cgroup: %w", err)
	}
	err := r.write(p, "cgroup.kill", "1")
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		err = r.killEach(p)
	}
	if err != nil {
		return fmt.Errorf("kill cgroup: %w", err)
	}
	return nil
}

// mayKill refuses what is not there and the root.
func (r Root) mayKill(p string) error {
	id, err := r.ID(p)
	if err == nil && id == rootID {
		err = fmt.Errorf("cgroup %q: %w", p, ErrRoot)
	}
	return err
}

// killEach is Kill for kernels before 5.14.
func (r Root) killEach(p string) error {
	// A frozen process dies of SIGKILL all the same, but it does not fork.
	// Where freezing fails the rounds below still win against all but a
	// fork bomb, and then the deadline says so.
	if err := r.write(p, "cgroup.freeze", "1"); err == nil {
		defer func() { _ = r.write(p, "cgroup.freeze", "0") }() // gone, or empty
	}
	deadline := time.After(killPatience)
	again := time.NewTicker(5 * time.Millisecond) // exits take a moment
	defer again.Stop()
	for {
		left, err := r.signalTree(p)
		if gone(err) || (err == nil && left == 0) {
			return nil
		}
		select {
		case <-again.C:
		case <-deadline:
			return errors.Join(fmt.Errorf("cgroup %q: %d processes left after %v", p, left, killPatience), err)
		}
	}
}

// signalTree signals what is in the cgroup and below, and counts it.
func (r Root) signalTree(p string) (int, error) {
	left := 0
	one := func(at string, _ uint64) error {
		pids, err := r.Procs(at)
		if gone(err) && at != p {
			return nil
		}
		if err != nil {
			return err
		}
		left += len(pids)
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("signal process %d: %w", pid, err)
			}
		}
		return nil
	}
	if err := one(p, 0); err != nil {
		return left, err
	}
	return left, r.walk(p, one)
}

// read reads a control file of the cgroup at p.
func (r Root) read(p, file string) ([]byte, error) {
	f, err := r.file(p, file, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// write writes a control file of the cgroup at p.
func (r Root) write(p, file, text string) error {
	f, err := r.file(p, file, unix.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func (r Root) file(p, name string, flags int) (*os.File, error) {
	full := strings.TrimSuffix(p, "/") + "/" + name
	fd, err := r.open(full, flags)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), full), nil
}
