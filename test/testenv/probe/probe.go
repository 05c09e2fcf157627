// SPDX-License-Identifier: Apache-2.0

//go:build linux

package probe

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Root reports why this process is not root in the host's user namespace.
func Root() error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("running as uid %d, not as root", uid)
	}
	return nil
}

// BPF reports why the kernel loads no BPF program for this process.
func BPF() error {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "probe",
		// Tracing programs need more than a socket filter, and are what is used.
		Type:         ebpf.RawTracepoint,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "Dual BSD/GPL",
	})
	if err != nil {
		return fmt.Errorf("load a BPF program: %w", err)
	}
	return prog.Close()
}

// BTF reports why the kernel's own types cannot be read.
func BTF() error {
	f, err := os.Open("/sys/kernel/btf/vmlinux")
	if err != nil {
		return err
	}
	return f.Close()
}

// Tracefs reports why a tracefs cannot be mounted. Nothing stays mounted.
func Tracefs() error {
	fs, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen tracefs: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("create a tracefs: %w", err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("fsmount tracefs: %w", err)
	}
	defer unix.Close(mount)
	var st unix.Stat_t
	if err := unix.Fstatat(mount, "events", &st, 0); err != nil {
		return fmt.Errorf("tracefs has no events: %w", err)
	}
	return nil
}

// Runc reports why no runc answers.
func Runc() error {
	if err := exec.Command("runc", "--version").Run(); err != nil {
		return fmt.Errorf("run runc --version (Debian package runc): %w", err)
	}
	return nil
}

// Busybox returns the path of a statically linked busybox, or why there is none.
func Busybox() (string, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return "", fmt.Errorf("find busybox (Debian package busybox-static): %w", err)
	}
	f, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", fmt.Errorf("%s needs shared libraries: install busybox-static", path)
		}
	}
	return path, nil
}

// Capability reports that this process lacks the capability number c, in its
// effective set, by its name for the message.
func Capability(c int, name string) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	if data[c/32].Effective&(1<<(c%32)) == 0 {
		return errors.New("this process lacks " + name)
	}
	return nil
}

// Able reports why this machine is not able to run the kernel and container
// tests: nil means that each of them must run and none may be skipped.
func Able() error {
	for _, f := range []func() error{Root, BTF, BPF, Cgroup2} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// Cgroup2 reports why there is no writable cgroup v2 hierarchy.
func Cgroup2() error {
	root, err := Cgroup2Root()
	if err != nil {
		return err
	}
	if err := unix.Access(root, unix.W_OK); err != nil {
		return fmt.Errorf("write to %s: %w", root, err)
	}
	return nil
}
