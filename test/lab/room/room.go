// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package room runs commands among the container runtimes of a Debian release, each
// at its usual path, on this machine's kernel: its processes and cgroups are the
// machine's, its files and its network are thrown away with all that it has started.
package room

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Suites are the Debian releases that there are rooms of.
func Suites() []string { return []string{"bookworm", "trixie", "sid"} }

// Variable is the environment variable that tells a command of the release whose room
// it is in. Elsewhere it is not set.
const Variable = "BOLTSEAL_ROOM"

// Room is where one command is run.
type Room struct {
	// Suite is the release, Root its root file system, which is not written to.
	Suite, Root string
	// Shared are directories of this machine, each with the path that it has in the room.
	Shared map[string]string
	// Argv is the command, in Dir; Env is added to an environment of the room's own.
	Argv, Env []string
	Dir       string
	// Unified gives the room cgroups of version 2 alone, with the controllers that this
	// machine has left to them; otherwise it has the machine's, whatever they are.
	Unified bool
	// Output gets what the command writes; nil: it has the caller's.
	Output io.Writer
}

// Run runs the command and returns its exit status. When it returns, nothing is left that
// the command started, nor when this process is killed. It needs root, and waits while
// another room of this machine is in use: engines share the names of their cgroups.
func (r *Room) Run(ctx context.Context) (status int, err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	// A process of the room's own, for the kernel gives it orphans of the room's alone.
	cmd := exec.CommandContext(ctx, "/proc/self/exe", string(text))
	cmd.Args[0] = keeperName
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if r.Output != nil {
		cmd.Stdout, cmd.Stderr = r.Output, r.Output
	}
	cmd.Env = append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=" + os.Getenv("TERM"),
		Variable + "=" + r.Suite,
	}, r.Env...)
	answer, err := runKeeper(cmd)
	return answer.Status, errors.Join(err, ctx.Err())
}

// MarshalJSON leaves out what the other side does not need.
func (r *Room) MarshalJSON() ([]byte, error) {
	return json.Marshal(plan{Root: r.Root, Shared: r.Shared, Argv: r.Argv, Dir: r.Dir, Unified: r.Unified})
}

// plan is what the process has to know that enters.
type plan struct {
	Root    string
	Shared  map[string]string
	Argv    []string
	Dir     string
	Unified bool
}

// enter makes the room and becomes the command.
func enter(scratch, text string) error {
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	if err := p.mount(scratch); err != nil {
		return err
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("set loopback up: %w: %s", err, out)
	}
	if err := os.Chdir(filepath.Join("/", p.Dir)); err != nil {
		return err
	}
	path, err := exec.LookPath(p.Argv[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("execute %s: %w", path, syscall.Exec(path, p.Argv, os.Environ()))
}

// mount makes the room's file systems, and its root that of this process.
func (p *plan) mount(scratch string) error {
	at := func(name string) string { return filepath.Join(scratch, name) }
	root := at("root")
	for _, dir := range []string{"root", "upper", "work", "tmp", "data/docker", "data/containerd", "data/containers"} {
		if err := os.MkdirAll(at(dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(at("tmp"), 0o1777); err != nil {
		return err
	}
	mounts := []mount{
		{target: "/", flags: unix.MS_REC | unix.MS_PRIVATE},
		{"overlay", root, "overlay", 0, "lowerdir=" + p.Root + ",upperdir=" + at("upper") + ",workdir=" + at("work")},
		{"proc", root + "/proc", "proc", 0, ""},
		{"sysfs", root + "/sys", "sysfs", 0, ""},
		p.cgroups(root),
		{"/sys/kernel/security", root + "/sys/kernel/security", "", unix.MS_BIND, ""},
		{"tracefs", root + "/sys/kernel/tracing", "tracefs", 0, ""},
		{"bpf", root + "/sys/fs/bpf", "bpf", 0, ""},
		{"/dev", root + "/dev", "", unix.MS_BIND | unix.MS_REC, ""},
		// Podman's locks are in there, for all of its containers on the machine.
		{"shm", root + "/dev/shm", "tmpfs", 0, "mode=1777"},
		{"run", root + "/run", "tmpfs", 0, "mode=755"},
		{at("tmp"), root + "/tmp", "", unix.MS_BIND, ""},
	}
	// Engines put overlays in there, which cannot be on another.
	for _, engine := range []string{"docker", "containerd", "containers"} {
		mounts = append(mounts, mount{at("data/" + engine), root + "/var/lib/" + engine, "", unix.MS_BIND, ""})
	}
	for from, to := range p.Shared {
		mounts = append(mounts, mount{from, filepath.Join(root, to), "", unix.MS_BIND | unix.MS_REC, ""})
	}
	for _, m := range mounts {
		if m.target != "/" {
			if err := os.MkdirAll(m.target, 0o755); err != nil && !strings.HasPrefix(m.target, root+"/sys/") {
				return err
			}
		}
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	// As the script of base-files makes it: two ways to one socket are no two sockets.
	if err := errors.Join(os.Remove(root+"/var/run"), os.Symlink("/run", root+"/var/run")); err != nil {
		return err
	}
	if err := os.MkdirAll(root+"/oldroot", 0o755); err != nil {
		return err
	}
	if err := unix.PivotRoot(root, root+"/oldroot"); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	return errors.Join(os.Chdir("/"), unix.Unmount("/oldroot", unix.MNT_DETACH), os.Remove("/oldroot"))
}

// cgroups is the mount of the room's cgroups.
func (p *plan) cgroups(root string) mount {
	if p.Unified {
		return mount{"cgroup2", root + cgroupRoot, "cgroup2", 0, ""}
	}
	return mount{cgroupRoot, root + cgroupRoot, "", unix.MS_BIND | unix.MS_REC, ""}
}

type mount struct {
	source, target, kind string
	flags                uintptr
	options              string
}
