// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// tree is the writable cgroup v2 hierarchy that escapes go through.
type tree struct {
	root string
	// own is the path of this process below root.
	own string
	// name begins the names of all cgroups that are made, so that the harness
	// finds and removes them.
	name string
}

// nameVariable says what the cgroups that the actor makes are called.
const nameVariable = "ACTOR_NAME"

func openTree(root string) (*tree, error) {
	own, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	name := os.Getenv(nameVariable)
	if name == "" {
		name = "actor-" + rand.Text()[:8]
	}
	return &tree{root: root, own: own, name: name}, nil
}

// ownCgroup returns this process's path in the v2 hierarchy.
func ownCgroup() (string, error) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path, nil
		}
	}
	return "", errors.New("/proc/self/cgroup has no cgroup v2 line")
}

// sub, sibling and fresh make a cgroup below the own one, beside it, and below the root.
func (t *tree) sub() (string, error) { return t.make(t.own, "-sub") }

func (t *tree) sibling() (string, error) {
	if t.own == "/" {
		return "", errors.New("the root cgroup has no sibling")
	}
	return t.make(filepath.Dir(t.own), "-sibling")
}

func (t *tree) fresh() (string, error) { return t.make("/", "-new") }

// top is the root of the hierarchy, which is there already.
func (t *tree) top() (string, error) { return t.root, nil }

func (t *tree) make(parent, suffix string) (string, error) {
	dir := filepath.Join(t.root, parent, t.name+suffix)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}

// threaded makes a new cgroup with a threaded child and returns both.
func (t *tree) threaded() (domain, threads string, err error) {
	if domain, err = t.fresh(); err != nil {
		return "", "", err
	}
	threads = filepath.Join(domain, "threads")
	if err := os.Mkdir(threads, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", "", err
	}
	return domain, threads, writeTo(filepath.Join(threads, "cgroup.type"), "threaded")
}

// move puts the whole process into dir; moveThread only the calling thread.
func move(dir string) error       { return writeTo(filepath.Join(dir, "cgroup.procs"), "0") }
func moveThread(dir string) error { return writeTo(filepath.Join(dir, "cgroup.threads"), "0") }

func writeTo(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(value)); err != nil {
		return fmt.Errorf("write %q to %s: %w", value, path, err)
	}
	return nil
}

// openDir returns a descriptor of dir for CLONE_INTO_CGROUP; it lives as long as the process.
func openDir(dir string) (int, error) {
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", dir, err)
	}
	return fd, nil
}
