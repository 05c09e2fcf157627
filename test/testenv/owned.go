// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv/probe"
)

// ownedFile lists the directories of cgroups that containers of the session may
// make and that need not carry its name, one a line, parents first.
const ownedFile = "cgroups"

// own records the cgroup path, in every hierarchy, with those of its parents
// that are not there yet: runc makes them and leaves them.
func (s *session) own(path string) error {
	roots, err := probe.CgroupRoots()
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, root := range roots {
		dir := root
		for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
			dir = filepath.Join(dir, part)
			// A path that a runtime refuses, a hostile one, is nobody's.
			if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) && !strings.Contains(dir, "\n") {
				fmt.Fprintln(&lines, dir)
			}
		}
	}
	// One write: parallel tests append to the same file.
	f, err := os.OpenFile(filepath.Join(s.dir, ownedFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(lines.String())
	return err
}

// removeOwned removes the recorded cgroups that are empty. It waits until the
// end of the session with the parents, because parallel containers share them.
func removeOwned(sessionDir string) {
	data, err := os.ReadFile(filepath.Join(sessionDir, ownedFile))
	if err != nil {
		return // none recorded
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		_ = unix.Rmdir(lines[i]) // most are gone; one that is in use holds a process, which is found
	}
}
