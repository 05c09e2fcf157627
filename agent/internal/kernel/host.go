// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// prober holds what the probes share.
type prober struct {
	tracefs      *Tracefs
	tracefsErr   error
	lockdown     string   // "" if unknown
	modules      []string // nil if unknown
	modulesErr   error
	unprivileged error  // why EPERM says nothing about the kernel
	nsDev, nsIno uint64 // the pid namespace that pids here belong to
	nsErr        error

	// asked is the feature that is being asked for; detaching is what is being detached
	// meanwhile, and left what could not be, by feature, under mu.
	asked     Feature
	detaching sync.WaitGroup
	mu        sync.Mutex
	left      map[Feature]error
}

func newProber() *prober {
	p := &prober{unprivileged: unprivileged(), left: map[Feature]error{}}
	p.tracefs, p.tracefsErr = OpenTracefs()
	p.lockdown, p.modules, p.modulesErr = security()
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		p.nsErr = fmt.Errorf("find own pid namespace: %w", err)
	}
	// The helper compares with the kernel's encoding of a device number.
	p.nsDev, p.nsIno = uint64(unix.Major(st.Dev))<<20|uint64(unix.Minor(st.Dev)), st.Ino
	return p
}

func (p *prober) close() {
	if p.tracefs != nil {
		_ = p.tracefs.Close() // read-only
	}
}

// security reads the lockdown mode and the active security modules.
func security() (lockdown string, modules []string, err error) {
	root, err := detachedMount("securityfs", unix.SECURITYFS_MAGIC)
	if err != nil {
		dir, openErr := openMount("/sys/kernel/security", unix.SECURITYFS_MAGIC)
		if openErr != nil {
			return "", nil, errors.Join(err, openErr)
		}
		root = dir
	}
	defer root.Close()
	// A kernel without lockdown has no such file.
	if text, err := readAt(root, "lockdown"); err == nil {
		lockdown = chosen(text)
	}
	text, err := readAt(root, "lsm")
	if err != nil {
		return lockdown, nil, err
	}
	return lockdown, strings.Split(strings.TrimSpace(text), ","), nil
}

// chosen is the word in brackets, as in "none [integrity] confidentiality".
func chosen(text string) string {
	_, rest, _ := strings.Cut(text, "[")
	word, _, _ := strings.Cut(rest, "]")
	return word
}

func readAt(dir *os.File, name string) (string, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 1<<16))
	return string(text), err
}

// unprivileged is nil if a refusal cannot be for want of privileges.
func unprivileged() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read own capabilities: %w", err)
	}
	has := func(capability uint) bool {
		return data[capability/32].Effective>>(capability%32)&1 == 1
	}
	if !has(unix.CAP_SYS_ADMIN) && (!has(unix.CAP_BPF) || !has(unix.CAP_PERFMON)) {
		return errors.New("this process lacks CAP_SYS_ADMIN, or CAP_BPF with CAP_PERFMON")
	}
	users, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return fmt.Errorf("read own user namespace: %w", err)
	}
	if !slices.Equal(strings.Fields(string(users)), []string{"0", "0", "4294967295"}) {
		return errors.New("this process is in a user namespace")
	}
	return nil
}

// getpgidSymbol is the kernel's function for the system call of the canaries.
func getpgidSymbol() string {
	switch runtime.GOARCH {
	case "amd64":
		return "__x64_sys_getpgid"
	case "arm64":
		return "__arm64_sys_getpgid"
	default:
		return "sys_getpgid"
	}
}
