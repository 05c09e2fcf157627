// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// disguises lists escapes into cgroups that look like another container's: the
// kernel seals those as they are made, with rules of their own.
func disguises() []mode {
	return []mode{
		{"newcg-id", func(e *escape) int { return e.moveTo(e.tree.named, e.here) }},
		{"newcg-id-clone", func(e *escape) int { return e.cloneInto(e.tree.named) }},
		{"newcg-runtime", func(e *escape) int { return e.moveTo(e.tree.asRuntime, e.here) }},
		{"newcg-runtime-exec", func(e *escape) int { return e.moveTo(e.tree.asRuntime, e.exec) }},
		{"newcg-runtime-clone", func(e *escape) int { return e.cloneInto(e.tree.asRuntime) }},
		{"subdeep", func(e *escape) int {
			return e.moveTo(func() (string, error) { return e.tree.deep(e.tree.sub) }, e.here)
		}},
		{"subdeep-clone", func(e *escape) int { return e.cloneInto(func() (string, error) { return e.tree.deep(e.tree.sub) }) }},
		{"newcg-deep", func(e *escape) int {
			return e.moveTo(func() (string, error) { return e.tree.deep(e.tree.fresh) }, e.exec)
		}},
	}
}

// named makes a cgroup that is called as container engines call theirs.
func (t *tree) named() (string, error) {
	above, err := t.fresh()
	if err != nil {
		return "", err
	}
	return makeBelow(above, "docker-"+strings.Repeat("5ea1", 16)+".scope")
}

// asRuntime makes a cgroup under the name of a runtime: this thread's.
func (t *tree) asRuntime() (string, error) {
	above, err := t.fresh()
	if err != nil {
		return "", err
	}
	runtime.LockOSThread()
	if err := os.WriteFile("/proc/thread-self/comm", []byte("runc"), 0); err != nil {
		return "", fmt.Errorf("rename this thread: %w", err)
	}
	return makeBelow(above, "container")
}

// depth is more cgroups below each other than any runtime makes.
const depth = 40

// deep makes a long chain of cgroups below the one that where makes, and returns the last.
func (t *tree) deep(where func() (string, error)) (string, error) {
	dir, err := where()
	for level := 0; err == nil && level < depth; level++ {
		dir, err = makeBelow(dir, fmt.Sprintf("level%d", level))
	}
	return dir, err
}

func makeBelow(dir, name string) (string, error) {
	dir = filepath.Join(dir, name)
	if err := unix.Mkdir(dir, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return "", fmt.Errorf("make %s: %w", dir, err)
	}
	return dir, nil
}
