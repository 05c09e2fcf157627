// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is one line of /proc/self/mountinfo, as far as tests need it.
type Mount struct {
	// Root is what part of the file system is mounted; Point is where.
	Root, Point string
	// Type is the file system's type, Options are those of the superblock.
	Type, Options string
}

// Mounts lists the mounts of this process's mount namespace.
func Mounts() ([]Mount, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var mounts []Mount
	for line := range strings.Lines(string(data)) {
		// 36 35 98:0 /root /point options [tags...] - type source superoptions
		before, after, found := strings.Cut(strings.TrimSpace(line), " - ")
		head, tail := strings.Fields(before), strings.Fields(after)
		if !found || len(head) < 6 || len(tail) < 1 {
			return nil, fmt.Errorf("read /proc/self/mountinfo: strange line %q", line)
		}
		m := Mount{Root: unescape(head[3]), Point: unescape(head[4]), Type: tail[0]}
		if len(tail) > 2 {
			m.Options = tail[2]
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// unescape undoes the octal form in which mountinfo writes white space.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Cgroup2Root returns where the root of the cgroup v2 hierarchy is mounted:
// /sys/fs/cgroup on unified hosts, /sys/fs/cgroup/unified on most hybrid ones.
func Cgroup2Root() (string, error) {
	mounts, err := Mounts()
	if err != nil {
		return "", err
	}
	for _, m := range mounts {
		if m.Type != "cgroup2" || m.Root != "/" {
			continue
		}
		// A later mount may lie over this one.
		var fs unix.Statfs_t
		if err := unix.Statfs(m.Point, &fs); err == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			return m.Point, nil
		}
	}
	return "", errors.New("no cgroup v2 hierarchy is mounted with its root")
}

// CgroupRoots returns where each cgroup hierarchy is mounted, v1 and v2, the v2
// one last; a hierarchy that is mounted twice is listed once.
func CgroupRoots() ([]string, error) {
	mounts, err := Mounts()
	if err != nil {
		return nil, err
	}
	var v1, v2 []string
	seen := map[string]bool{}
	for _, m := range mounts {
		if m.Type != "cgroup" && m.Type != "cgroup2" || m.Root != "/" || seen[m.Type+m.Options] {
			continue
		}
		seen[m.Type+m.Options] = true
		if m.Type == "cgroup2" {
			v2 = append(v2, m.Point)
		} else {
			v1 = append(v1, m.Point)
		}
	}
	return append(v1, v2...), nil
}
