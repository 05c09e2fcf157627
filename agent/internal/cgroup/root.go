// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoUnified is returned when no unified hierarchy is mounted.
var ErrNoUnified = errors.New("no cgroup2 file system is mounted with its root visible")

// ErrNamespace is returned for a mount that shows a part of the hierarchy
// only, as in a private cgroup namespace: ids can be read there, but paths are
// not the kernel's and most containers are out of sight.
var ErrNamespace = errors.New("the cgroup2 mount does not show the kernel's root cgroup (private cgroup namespace?)")

// ErrRoot is returned where a container's cgroup is expected and the root of
// the hierarchy is found, to which all of the host belongs.
var ErrRoot = errors.New("it is the root cgroup")

// rootID is the id of the kernel's root cgroup in each hierarchy.
const rootID = 1

// Root is the mount point of the unified hierarchy. It holds no descriptor, is
// a plain value, and may be used concurrently. The zero Root is not usable.
type Root struct {
	path string
}

// FindRoot finds the unified hierarchy among the mounts of the calling
// process, on hosts that have only it and on hosts that mount it beside
// version 1 hierarchies. Errors are ErrNoUnified and ErrNamespace, wrapped, or
// what reading the mounts gave.
func FindRoot() (Root, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Root{}, fmt.Errorf("find cgroup2 mount: %w", err)
	}
	last := ErrNoUnified
	for _, point := range unifiedMounts(info) {
		root, err := At(point)
		if err == nil {
			return root, nil
		}
		last = err
	}
	return Root{}, fmt.Errorf("find cgroup2 mount: %w", last)
}

// At is the hierarchy mounted at point, for agents that see the host's mounts
// elsewhere than the host does. It makes the same checks as FindRoot.
func At(point string) (Root, error) {
	fd, err := unix.Open(point, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Root{}, &fs.PathError{Op: "open cgroup root", Path: point, Err: err}
	}
	defer unix.Close(fd)
	id, err := idOf(fd)
	if err != nil {
		return Root{}, fmt.Errorf("check cgroup root %q: %w", point, err)
	}
	if id != rootID {
		return Root{}, fmt.Errorf("check cgroup root %q: %w", point, ErrNamespace)
	}
	return Root{path: path.Clean(point)}, nil
}

// Path is the directory where the hierarchy is mounted.
func (r Root) Path() string { return r.path }

// unifiedMounts lists the mount points in info, a mountinfo file, that hold
// the top of a cgroup2 file system. Later mounts come first: of two mounts on
// one point the later is seen.
func unifiedMounts(info []byte) []string {
	var points []string
	for line := range bytes.Lines(info) {
		// "36 35 98:0 /root /mount/point opts optional... - fstype source super"
		head, tail, ok := strings.Cut(string(line), " - ")
		fields, fstype := strings.Fields(head), strings.Fields(tail)
		if !ok || len(fields) < 6 || len(fstype) < 1 || fstype[0] != "cgroup2" || fields[3] != "/" {
			continue
		}
		points = append([]string{unescape(fields[4])}, points...)
	}
	return points
}

// unescape undoes the octal escapes of mountinfo: \040 for a space, and the
// like.
func unescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && isOctal(s[i+1:i+4]) {
			out.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

func isOctal(s string) bool {
	return s[0] <= '3' && strings.Trim(s, "01234567") == ""
}
