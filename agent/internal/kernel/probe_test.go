// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// privileged skips where a refusal says nothing about the kernel.
func privileged(t *testing.T) {
	t.Helper()
	if err := unprivileged(); err != nil {
		t.Skipf("probes need privileges: %v", err)
	}
}

func TestProbeAnswersEverything(t *testing.T) {
	privileged(t)
	start := time.Now()
	f := Probe(t.Context(), Options{})
	t.Logf("%v, lockdown %q, security modules %q", time.Since(start), f.Lockdown, f.SecurityModules)
	seen := map[Feature]bool{}
	for _, a := range f.All() {
		t.Logf("%-26s %v", a.Feature, a.Err)
		if seen[a.Feature] {
			t.Errorf("%s is answered twice", a.Feature)
		}
		seen[a.Feature] = true
		var no *UnsupportedError
		switch {
		case errors.As(a.Err, &no):
			if no.Feature != a.Feature || no.Reason == "" || strings.Contains(no.Reason, "MEMLOCK") {
				t.Errorf("%s: %+v", a.Feature, no)
			}
		case a.Err != nil && a.Feature != ModuleBTF: // which is unknown as long as no module is loaded
			t.Errorf("%s could not be told: %v", a.Feature, a.Err)
		}
	}
	for _, a := range f.InfoProbes() {
		if errors.Is(a.Err, ErrNotProbed) {
			t.Errorf("%s is not probed", a.Feature)
		}
	}
}

// What a kernel is built without it cannot do, and what is built in without
// further conditions works.
func TestProbeAgreesWithKernelConfig(t *testing.T) {
	privileged(t)
	config := kernelConfig(t)
	f := Probe(t.Context(), Options{})
	tests := []struct {
		feature    Feature
		option     string
		sufficient bool // of itself, on every kernel that the project supports
	}{
		{BTF, "DEBUG_INFO_BTF", true},
		{ModuleBTF, "MODULES", false},
		{RawTracepointBTF, "DEBUG_INFO_BTF", true},
		{TaskStorage, "DEBUG_INFO_BTF", false},
		{RingBuffer, "BPF_SYSCALL", true},
		{TaskIterator, "DEBUG_INFO_BTF", true},
		{CgroupID, "CGROUPS", true},
		{TraceEvents, "EVENT_TRACING", true},
		{SyscallTracepoints, "FTRACE_SYSCALLS", true},
		{Kprobe, "KPROBE_EVENTS", false},
		{KprobeMulti, "KPROBES", false},
		{Uprobe, "UPROBE_EVENTS", true},
		{UprobeMulti, "UPROBE_EVENTS", false},
		{UprobeRefCounter, "UPROBE_EVENTS", true},
		{UprobeRegisters, "UPROBE_EVENTS", false},
		{Fentry, "DYNAMIC_FTRACE_WITH_DIRECT_CALLS", false},
		{ModifyReturn, "DEBUG_INFO_BTF", false},
		{OverrideReturn, "BPF_KPROBE_OVERRIDE", false},
		{LSM, "BPF_LSM", false},
		{Signal, "BPF_EVENTS", true},
		{BatchUpdate, "BPF_SYSCALL", true},
		{LargePrograms, "BPF_SYSCALL", true},
		{PerfEventLink, "PERF_EVENTS", false},
		{BuildID, "PERF_EVENTS", true},
		{MissedKprobe, "KPROBE_EVENTS", false},
		{LoginUID, "AUDIT", true},
	}
	for _, tt := range tests {
		switch err := f.Err(tt.feature); {
		case !config[tt.option] && !errors.Is(err, ErrUnsupported):
			t.Errorf("%s without CONFIG_%s: %v", tt.feature, tt.option, err)
		case config[tt.option] && tt.sufficient && err != nil:
			t.Errorf("%s with CONFIG_%s: %v", tt.feature, tt.option, err)
		}
	}
}

func TestProbeAgreesWithTheRunningKernel(t *testing.T) {
	privileged(t)
	f := Probe(t.Context(), Options{Only: []Feature{Kprobe, LSM, WriteUser, ModuleBTF}})
	if len(f.All()) != 4 {
		t.Errorf("4 features asked for, answers %v", f.All())
	}
	symbols, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	if f.Has(Kprobe) && !bytes.Contains(symbols, []byte(" register_kprobe\n")) {
		t.Error("kprobes work on a kernel that has no register_kprobe")
	}
	if f.Has(LSM) && !slices.Contains(f.SecurityModules, "bpf") {
		t.Errorf("the LSM canary was denied, active modules are %q", f.SecurityModules)
	}
	if f.Has(WriteUser) && f.Lockdown != "" && f.Lockdown != "none" {
		t.Errorf("writing to user memory is allowed under lockdown %q", f.Lockdown)
	}
	// The security modules as the kernel logged or shows them elsewhere.
	if text, err := os.ReadFile("/sys/kernel/security/lsm"); err == nil && strings.TrimSpace(string(text)) != strings.Join(f.SecurityModules, ",") {
		t.Errorf("security modules %q, the file says %q", f.SecurityModules, text)
	}
}

func TestProbeLeavesNothingBehind(t *testing.T) {
	privileged(t)
	Probe(t.Context(), Options{}) // what the libraries open once
	descriptors, mounts := entries(t, "/proc/self/fd"), text(t, "/proc/self/mountinfo")
	Probe(t.Context(), Options{})
	if got := entries(t, "/proc/self/fd"); got > descriptors {
		t.Errorf("%d descriptors, were %d", got, descriptors)
	}
	if got := text(t, "/proc/self/mountinfo"); got != mounts {
		t.Errorf("mounts changed: %s", got)
	}
	noChildren(t)
	// The kernel frees what was closed a little later.
	deadline := time.After(10 * time.Second)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for left := ownPrograms(t); left > 0; left = ownPrograms(t) {
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("%d programs of the probes are left", left)
		}
	}
}

func ownPrograms(t *testing.T) int {
	t.Helper()
	n := 0
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		id = next
		prog, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // gone meanwhile
		}
		if info, err := prog.Info(); err == nil && info.Name == probeName() {
			n++
		}
		prog.Close()
	}
}

func TestProbeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := Probe(ctx, Options{})
	if len(f.All()) < 20 {
		t.Errorf("%d answers", len(f.All()))
	}
	for _, a := range f.All() {
		if !errors.Is(a.Err, context.Canceled) {
			t.Errorf("%s: %v", a.Feature, a.Err)
		}
	}
}

// Without privileges nothing is claimed about the kernel that is not known.
func TestProbeWithoutPrivileges(t *testing.T) {
	const asked = "BOLTSEAL_TEST_UNPRIVILEGED"
	if os.Getenv(asked) != "" {
		for _, a := range Probe(t.Context(), Options{}).All() {
			fmt.Printf("%s: %v: %v\n", a.Feature, errors.Is(a.Err, ErrUnsupported), a.Err)
		}
		return
	}
	privileged(t)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), asked+"=1")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, feature := range []Feature{RawTracepointBTF, TaskStorage, Signal, Uprobe, LSM, Fentry, TraceEvents} {
		if !strings.Contains(string(out), string(feature)+": false: probe "+string(feature)) {
			t.Errorf("%s is not unknown:\n%s", feature, out)
		}
	}
	if !strings.Contains(string(out), "lacks CAP_SYS_ADMIN") {
		t.Errorf("the missing capability is not named:\n%s", out)
	}
}

// The canaries themselves: each must be able to say no.
func TestCanariesSayNo(t *testing.T) {
	privileged(t)
	p := newProber()
	defer p.close()
	finding := func(t *testing.T, err error, want string) {
		t.Helper()
		var no *reasonError
		if !errors.As(err, &no) || !strings.Contains(no.reason, want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	enter := typed(ebpf.AttachTraceRawTp, "sys_enter")
	t.Run("counting", func(t *testing.T) {
		err := p.counts(trial{enter, func(*ebpf.Program) (io.Closer, error) { return io.NopCloser(nil), nil }, getpgid})
		finding(t, err, "never run")
	})
	t.Run("counting_other_threads", func(t *testing.T) {
		format, err := openTracefs(t).Format("syscalls", "sys_enter_getpgid")
		if errors.Is(err, ErrNoEvent) {
			t.Skip("this kernel has no syscall trace events")
		}
		if err != nil {
			t.Fatal(err)
		}
		attach := func(prog *ebpf.Program) (io.Closer, error) { return AttachTracepoint(prog, format.ID) }
		elsewhere := func(int) error {
			done := make(chan error)
			go func() { done <- getpgid(0) }() // the probing thread is locked to the test
			return <-done
		}
		finding(t, p.counts(trial{kind{typ: ebpf.TracePoint}, attach, elsewhere}), "never run")
	})
	t.Run("denying", func(t *testing.T) {
		finding(t, p.denies(trial{kind: enter, attach: attachTyped}), "let through")
	})
	t.Run("killing", func(t *testing.T) {
		finding(t, p.kills(asm.Mov.Imm(asm.R0, 0)), "not killed")
		finding(t, p.kills(asm.Mov.Imm(asm.R1, 0), asm.FnSendSignal.Call()), "not killed")
		// Another signal is not taken for the one that was sent.
		finding(t, p.kills(asm.Mov.Imm(asm.R1, int32(unix.SIGTERM)), asm.FnSendSignal.Call()), "not killed")
		noChildren(t)
	})
}

// The canary is this executable: none of its code may run, whatever happens.
func TestCanaryDoesNotRunItsCode(t *testing.T) {
	privileged(t)
	marker := filepath.Join(t.TempDir(), "ran")
	t.Setenv(canaryMarker, marker)
	p := newProber()
	defer p.close()
	if err := p.kills(asm.Mov.Imm(asm.R0, 0)); err == nil {
		t.Error("nothing killed the canary, yet it is dead")
	}
	if _, err := os.Stat(marker); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the canary ran: %v", err)
	}
}

const canaryMarker = "BOLTSEAL_TEST_CANARY_MARKER"

func TestMain(m *testing.M) {
	if os.Args[0] == "boltseal-canary" {
		_ = os.WriteFile(os.Getenv(canaryMarker), nil, 0o600)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// noChildren wants every child to have been reaped. Tests that use it do not
// run beside others.
func noChildren(t *testing.T) {
	t.Helper()
	var status unix.WaitStatus
	if pid, err := unix.Wait4(-1, &status, unix.WNOHANG|unix.WALL, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("a child is left: %d %v", pid, err)
	}
}

func entries(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func text(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

// kernelConfig is the running kernel's options that are built in.
func kernelConfig(t *testing.T) map[string]bool {
	t.Helper()
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("/boot/config-" + unix.ByteSliceToString(uts.Release[:]))
	if err != nil {
		packed, err := os.Open("/proc/config.gz")
		if err != nil {
			t.Skipf("the kernel's configuration is not to be had: %v", err)
		}
		defer packed.Close()
		r, err := gzip.NewReader(packed)
		if err != nil {
			t.Fatal(err)
		}
		if data, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	config := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutSuffix(strings.TrimSpace(line), "=y"); ok {
			config[strings.TrimPrefix(name, "CONFIG_")] = true
		}
	}
	return config
}
