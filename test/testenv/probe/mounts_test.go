// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe

import (
	"slices"
	"strings"
	"testing"
)

func TestUnescape(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/plain": "/plain", `/a\040b`: "/a b", `/a\134b`: `/a\b`, `/tab\011`: "/tab\t", `/short\04`: `/short\04`, `/no\999`: `/no\999`, "": "",
	} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestMountsOfThisMachine(t *testing.T) {
	t.Parallel()
	mounts, err := Mounts()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(mounts, func(m Mount) bool { return m.Point == "/proc" && m.Type == "proc" && m.Root == "/" }) {
		t.Errorf("/proc is not among %+v", mounts)
	}
	roots, err := CgroupRoots()
	if err != nil {
		t.Fatal(err)
	}
	if root, err := Cgroup2Root(); err == nil && (len(roots) == 0 || roots[len(roots)-1] != root) {
		t.Errorf("the v2 root %s is not the last of %s", root, strings.Join(roots, ", "))
	}
}
