// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/lab/job"
)

// mount is one file system to mount.
type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
	// optional: some kernels of the lab are built without it.
	optional bool
}

func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data)
	if m.optional && errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mount %s (%s) on %s: %w", m.source, m.fstype, m.target, err)
	}
	return nil
}

func mountAll(mounts ...mount) error {
	for _, m := range mounts {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// early makes devices appear.
func early() error {
	err := mountAll(
		mount{source: "proc", target: "/proc", fstype: "proc"},
		mount{source: "sys", target: "/sys", fstype: "sysfs"},
		mount{source: "dev", target: "/dev", fstype: "devtmpfs"},
	)
	if err != nil {
		return err
	}
	return loadModules()
}

// loadModules loads what the list names. The host has put dependencies first.
func loadModules() error {
	list, err := os.Open(job.ModuleList)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // everything is built in
	}
	if err != nil {
		return err
	}
	defer list.Close()
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		if err := loadModule(lines.Text()); err != nil {
			return fmt.Errorf("load module %s: %w", lines.Text(), err)
		}
	}
	return lines.Err()
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENODEV) {
		return nil // built in, or for hardware that is not here
	}
	return err
}

// deviceTime is how long disks may take to appear.
const deviceTime = 20 * time.Second

func waitFor(path string) error {
	end := time.After(deviceTime)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		_, err := os.Stat(path)
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-end:
			return fmt.Errorf("wait for device: %w", err)
		}
	}
}

// assemble builds the root: the image below a layer of memory, so that commands
// may write everywhere, and the files of this run beside it. Then it makes it
// the root of every process, also of those that the kernel starts.
func assemble() error {
	for _, disk := range []string{"/dev/vda", "/dev/vdb"} {
		if err := waitFor(disk); err != nil {
			return err
		}
	}
	if err := mountAll(
		mount{source: "/dev/vda", target: "/lower", fstype: "ext4", flags: unix.MS_RDONLY},
		mount{source: "rw", target: "/rw", fstype: "tmpfs", data: "size=80%"},
	); err != nil {
		return err
	}
	for _, dir := range []string{"/rw/upper", "/rw/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := mountAll(
		mount{source: "root", target: "/new", fstype: "overlay", data: "lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work"},
		mount{source: "/dev/vdb", target: "/new" + job.InDir, fstype: "ext4", flags: unix.MS_RDONLY},
		mount{source: "/proc", target: "/new/proc", flags: unix.MS_MOVE},
		mount{source: "/sys", target: "/new/sys", flags: unix.MS_MOVE},
		mount{source: "/dev", target: "/new/dev", flags: unix.MS_MOVE},
	); err != nil {
		return err
	}
	if err := switchRoot("/new"); err != nil {
		return fmt.Errorf("switch root: %w", err)
	}
	return furnish()
}

func switchRoot(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// furnish gives the machine what a booted Linux has.
func furnish() error {
	if err := mountAll(
		mount{source: "devpts", target: "/dev/pts", fstype: "devpts", data: "mode=620,ptmxmode=666"},
		mount{source: "shm", target: "/dev/shm", fstype: "tmpfs", data: "mode=1777"},
		mount{source: "mqueue", target: "/dev/mqueue", fstype: "mqueue"},
		mount{source: "run", target: "/run", fstype: "tmpfs", data: "mode=755"},
		mount{source: "tmp", target: "/tmp", fstype: "tmpfs", data: "mode=1777"},
		// An overlay's upper layer may not be on an overlay, and these have such.
		mount{source: "containers", target: "/var/lib/containers", fstype: "tmpfs"},
		mount{source: "containerd", target: "/var/lib/containerd", fstype: "tmpfs"},
		mount{source: "cgroup2", target: "/sys/fs/cgroup", fstype: "cgroup2", data: "nsdelegate"},
		mount{source: "bpf", target: "/sys/fs/bpf", fstype: "bpf"},
		mount{source: "securityfs", target: "/sys/kernel/security", fstype: "securityfs"},
		mount{source: "tracefs", target: "/sys/kernel/tracing", fstype: "tracefs"},
		mount{source: "debugfs", target: "/sys/kernel/debug", fstype: "debugfs", optional: true},
	); err != nil {
		return err
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	} {
		if err := os.Symlink(target, filepath.Join("/dev", name)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(job.OutDir, 0o755); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("lab")); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	return errors.Join(delegate("/sys/fs/cgroup"), loopbackUp())
}

// delegate hands every controller to the root's children. A cgroup with
// processes cannot have such children, but the root can.
func delegate(root string) error {
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("list controllers: %w", err)
	}
	for name := range strings.FieldsSeq(string(controllers)) {
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+name), 0o644); err != nil {
			return fmt.Errorf("delegate controller %s: %w", name, err)
		}
	}
	own := filepath.Join(root, "init")
	if err := os.Mkdir(own, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte("1"), 0o644)
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("set up loopback: %w", err)
	}
	_, err = net.InterfaceByName("lo")
	return err
}
