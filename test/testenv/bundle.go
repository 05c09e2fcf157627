// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/boltseal/boltseal/test/testenv/probe"
)

// Spec says what container a test wants; the zero value runs /bin/true.
type Spec struct {
	// ID is the container's id; unique in the session if empty. A test that
	// chooses one makes sure that nobody else does.
	ID string
	// Args is the entrypoint, Env what is added to PATH.
	Args, Env []string
	// Annotations end up in config.json and in the state that hooks get.
	Annotations map[string]string
	// CgroupsPath is that of config.json, which has none if it is empty: runc
	// then uses the id. Parents that are missing are removed at the end of the
	// session; test processes that run at once use different ones.
	CgroupsPath string
	// CgroupFS leaves the container in the host's cgroup namespace, with the
	// host's v2 hierarchy writable at /cg, and adds CAP_SYS_ADMIN: what escapes need.
	CgroupFS bool
	// Hooks are the OCI hooks. Paths of startContainer hooks are in the container.
	Hooks *specs.Hooks
	// Capabilities replaces the default list, Namespaces the default of mount,
	// pid, ipc, uts and cgroup.
	Capabilities []string
	Namespaces   []specs.LinuxNamespace
	// Mounts are added to /proc, /dev and /tmp.
	Mounts []specs.Mount
	// Edit has the last word about config.json.
	Edit func(*specs.Spec)
}

// Container is a bundle on disk and what became of it.
type Container struct {
	// ID is the container's id, Dir the bundle.
	ID, Dir string
	// CgroupPath is the path of its cgroup in all hierarchies.
	CgroupPath string
	// Spec is what config.json says.
	Spec *specs.Spec

	runc atomic.Pointer[Runc] // who started it
}

// Bundle writes a bundle. When the test ends the container is removed, if it was
// started, with its cgroups and those that the actor made from inside of it.
func Bundle(tb testing.TB, spec Spec) *Container {
	tb.Helper()
	s := of(tb)
	rootfs := Rootfs(tb)
	dir := Dir(tb)
	c := &Container{ID: spec.ID, Dir: dir, CgroupPath: spec.CgroupsPath}
	if c.ID == "" {
		c.ID = s.name + "-" + filepath.Base(dir)
	}
	if c.CgroupPath == "" {
		c.CgroupPath = c.ID
	}
	c.CgroupPath = filepath.Join("/", c.CgroupPath)
	c.Spec = spec.config(c.ID, rootfs, s.name)
	if spec.CgroupFS {
		addCgroupFS(c.Spec, Cgroup2Root(tb))
	}
	if spec.Edit != nil {
		spec.Edit(c.Spec)
	}
	if err := c.write(); err != nil {
		tb.Fatalf("testenv: write a bundle: %v", err)
	}
	if err := s.own(c.CgroupPath); err != nil {
		tb.Fatalf("testenv: record the container's cgroup: %v", err)
	}
	tb.Cleanup(func() {
		Eventually(tb, 20*time.Second, "container "+c.ID+" is gone", func() error { return c.remove(spec.CgroupFS) })
	})
	return c
}

func (c *Container) write() error {
	data, err := json.Marshal(c.Spec)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.Dir, "config.json"), data, 0o644)
}

// Stdout and Stderr return what the container's processes, and runc on its
// behalf, have written so far. Exec has its own.
func (c *Container) Stdout() string { return c.read("stdout") }

// Stderr is described at Stdout.
func (c *Container) Stderr() string { return c.read("stderr") }

func (c *Container) read(name string) string {
	data, _ := os.ReadFile(filepath.Join(c.Dir, name)) // not started: nothing written
	return string(data)
}

// CgroupID returns the id of the container's v2 cgroup, which exists from
// Create until the container is deleted.
func (c *Container) CgroupID() (uint64, error) {
	root, err := probe.Cgroup2Root()
	if err != nil {
		return 0, err
	}
	return CgroupID(filepath.Join(root, c.CgroupPath))
}

// remove deletes the container and its cgroups. A container with the cgroupfs
// may have made others: they carry its id.
func (c *Container) remove(escapes bool) error {
	var errs []error
	if r := c.runc.Load(); r != nil {
		errs = append(errs, r.forget(c.ID))
	}
	roots, err := probe.CgroupRoots()
	errs = append(errs, err)
	for _, root := range roots {
		errs = append(errs, removeTree(filepath.Join(root, c.CgroupPath)))
	}
	if escapes {
		for _, dir := range cgroupsOf(c.ID) {
			errs = append(errs, removeCgroup(dir))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove container %s: %w", c.ID, err)
	}
	return nil
}
