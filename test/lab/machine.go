// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/boltseal/boltseal/test/lab/job"
)

// Machine says what machine to boot.
type Machine struct {
	Kernel Kernel
	// LSM is the value of the kernel's parameter lsm=; the kernel's own default
	// if empty. Params are further parameters.
	LSM, Params string
	// Disk is a disk of files, from Pack.
	Disk string
	// OutDir, if not empty, gets the files that commands leave in job.OutDir.
	OutDir string
	// CPUs is how many processors the machine has; 2 if zero.
	CPUs int
	// MemoryMB is 3072 if zero.
	MemoryMB int
	// MultiThreaded gives each processor a thread of the host. Races are then
	// real ones, but kernels that patch their own code can die (seen in one of 50
	// boots), so that it is not the default.
	MultiThreaded bool
	// Timeout bounds a boot and all steps; 10 minutes if zero.
	Timeout time.Duration
	// Silence is how long a guest may give no sign of life; a minute if zero.
	Silence time.Duration
	// Console, if not empty, is a file that gets the kernel's console.
	Console string
}

// Result is what a machine did.
type Result struct {
	// Steps are the ends of the steps that ended.
	Steps []job.Exit
	// Boots is how often the machine had to be booted.
	Boots int
	// Time is how long everything took, Ready how long the boot.
	Time, Ready time.Duration
}

// Reasons for which a machine did not do its job; they are wrapped with what was
// last heard of it.
var (
	// ErrDied: it ended by itself, most likely in a panic.
	ErrDied = errors.New("the guest died")
	// ErrHangs: it gives no sign of life.
	ErrHangs = errors.New("the guest hangs")
	// ErrTimeout: it lives, and its job takes too long.
	ErrTimeout = errors.New("the job takes too long")
	// ErrClock: its clock runs too fast. Under load a kernel can take the frequency
	// of its processor's counter for a tenth of what it is (seen on 6.12), and
	// everything in it that waits then gives up early.
	ErrClock = errors.New("the guest's clock runs too fast")
	// ErrGuest: it says itself why it cannot do the job.
	ErrGuest = errors.New("the guest cannot do its job")
)

// bootAttempts is how often a machine is booted that dies or hangs before its
// first step; after that nothing is tried again.
const bootAttempts = 2

// Run boots a machine, has it do the job, and waits for its end. Events of
// commands are passed to watch as they come. The error is nil if all steps ended,
// whatever their status.
func (l *Lab) Run(ctx context.Context, m Machine, todo job.Job, watch func(job.Event)) (*Result, error) {
	m.setDefaults()
	kernel, err := l.cache.kernel(ctx, m.Kernel)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", m.Kernel.Name, err)
	}
	root, err := l.cache.root(ctx)
	if err != nil {
		return nil, fmt.Errorf("root file system: %w", err)
	}
	for boot := 1; ; boot++ {
		result, ready, err := l.boot(ctx, m, kernel, root, todo, watch)
		result.Boots = boot
		if err == nil || ready || boot == bootAttempts || ctx.Err() != nil || errors.Is(err, ErrGuest) {
			return result, err
		}
		fmt.Fprintf(l.log, "lab: %s: BOOT FAILURE before the first step, booting again: %v\n", m.Kernel.Name, err)
	}
}

func (m *Machine) setDefaults() {
	if m.CPUs == 0 {
		m.CPUs = 2
	}
	if m.MemoryMB == 0 {
		m.MemoryMB = 3072
	}
	if m.Timeout == 0 {
		m.Timeout = 10 * time.Minute
	}
	if m.Silence == 0 {
		m.Silence = time.Minute
	}
}

// boot runs a machine once. It reports whether its first step may have begun.
func (l *Lab) boot(ctx context.Context, m Machine, kernel bootable, root string, todo job.Job, watch func(job.Event)) (*Result, bool, error) {
	begin := time.Now()
	dir, err := os.MkdirTemp(l.dir, "vm")
	if err != nil {
		return &Result{}, false, err
	}
	defer os.RemoveAll(dir)
	if m.Console == "" {
		m.Console = filepath.Join(dir, "console")
	}
	initrd := filepath.Join(dir, "initrd")
	if err := concatenate(initrd, kernel.drivers, l.init); err != nil {
		return &Result{}, false, err
	}
	if m.Disk == "" {
		if m.Disk, err = l.Pack(ctx); err != nil {
			return &Result{}, false, err
		}
	}
	q, err := startQEMU(dir, m, kernel.image, initrd, root)
	if err != nil {
		return &Result{}, false, err
	}
	defer q.kill()
	c := &conversation{machine: m, todo: todo, watch: watch, begin: begin}
	err = c.hold(ctx, q)
	c.result.Time = time.Since(begin)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w\n%s", err, q.lastWords(m.Console))
	}
	return &c.result, c.ready, err
}

// concatenate joins archives: the kernel unpacks one after the other.
func concatenate(to string, files ...string) error {
	var all []byte
	for _, file := range files {
		if file == "" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		all = append(all, data...)
		all = append(all, make([]byte, -len(all)&3)...) // headers begin at multiples of 4
	}
	return os.WriteFile(to, all, 0o644)
}

// parameters is the kernel's command line.
func (m Machine) parameters() string {
	all := []string{
		"console=ttyS0", "panic=-1", "oops=panic", "loglevel=5",
		// What costs time under emulation and protects nothing here.
		"mitigations=off", "nokaslr", "no5lvl", "cryptomgr.notests", "random.trust_cpu=on", "rcupdate.rcu_expedited=1", "tsc=reliable",
	}
	if m.LSM != "" {
		all = append(all, "lsm="+m.LSM)
	}
	if m.Params != "" {
		all = append(all, m.Params)
	}
	return strings.Join(all, " ")
}
