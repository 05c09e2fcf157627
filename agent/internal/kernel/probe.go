// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Options say what to ask for.
type Options struct {
	// Only limits the probes to these features; empty means all.
	Only []Feature
}

// Probe asks the running kernel what it can do. It takes well under a second,
// attaches programs that act on threads and a child of the calling process
// alone, and leaves nothing attached. The features that it does not come to
// because ctx ends are answered with ctx's error.
//
// Before Linux 5.11 memory of BPF is counted against RLIMIT_MEMLOCK; Probe
// lifts that limit for the process, as everyone who loads programs has to.
func Probe(ctx context.Context, opts Options) Features {
	// Where it cannot be lifted it may still be large enough: the loads tell.
	_ = rlimit.RemoveMemlock()
	p := newProber()
	defer p.close()
	f := Features{Lockdown: p.lockdown, SecurityModules: p.modules}
	for _, q := range p.questions() {
		if !wanted(opts.Only, q.feature) {
			continue
		}
		f.answers = append(f.answers, Answer{q.feature, p.answer(ctx, q)})
	}
	p.detaching.Wait()
	for i := range f.answers {
		a := &f.answers[i]
		if err := p.left[a.Feature]; err != nil {
			a.Err = errors.Join(a.Err, err)
		}
	}
	return f
}

func wanted(only []Feature, feature Feature) bool {
	for _, o := range only {
		if o == feature {
			return true
		}
	}
	return len(only) == 0
}

// question is how a feature is asked for.
type question struct {
	feature Feature
	since   string
	ask     func() error
}

func (p *prober) questions() []question {
	return []question{
		{BTF, "5.4", p.btf},
		{ModuleBTF, "5.11", p.moduleBTF},
		{RawTracepointBTF, "5.5", p.rawTracepointBTF},
		{RawTracepointTestRun, "5.10", p.testRun},
		{TaskStorage, "5.13", p.taskStorage},
		{RingBuffer, "5.8", p.ringBuffer},
		{TaskIterator, "5.8", p.taskIterator},
		{CgroupID, "4.18", p.cgroupID},
		{TraceEvents, "", p.traceEvents},
		{SyscallTracepoints, "4.7", p.syscallTracepoints},
		{Kprobe, "4.17", p.kprobe},
		{KprobeMulti, "5.18", p.kprobeMulti},
		{Uprobe, "4.17", p.uprobe},
		{UprobeMulti, "6.6", p.uprobeMulti},
		{UprobeRefCounter, "4.20", p.uprobeRefCounter},
		{UprobeRegisters, "6.18", p.uprobeRegisters},
		{Fentry, "5.5", p.fentry},
		{ModifyReturn, "5.7", p.modifyReturn},
		{ModifyReturnSyscall, "5.7", p.modifyReturnSyscall},
		{OverrideReturn, "4.16", p.overrideReturn},
		{LSM, "5.7", p.lsm},
		{FileHash, "5.18", p.fileHash},
		{Signal, "5.3", p.signal},
		{WriteUser, "4.8", p.writeUser},
		{LargePrograms, "5.2", p.largePrograms},
		{BatchUpdate, "5.6", p.batchUpdate},
		{PerfEventLink, "5.15", p.perfEventLink},
		{BuildID, "4.17", p.buildID},
		{MissedKprobe, "6.7", p.missedKprobe},
		{MissedKprobeMulti, "6.7", p.missedKprobeMulti},
		{LoginUID, "", p.loginUID},
	}
}

func (p *prober) answer(ctx context.Context, q question) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("probe %s: %w", q.feature, err)
	}
	p.asked = q.feature
	return p.judge(q, q.ask())
}

// judge makes an answer of how an attempt ended.
func (p *prober) judge(q question, err error) error {
	var no *reasonError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &no):
		return &UnsupportedError{q.feature, no.Error(), q.since}
	case p.unprivileged != nil:
		// Whatever it says: libraries take a refusal for a missing feature.
		return fmt.Errorf("probe %s: %s: %w", q.feature, plain(err), p.unprivileged)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, btf.ErrNotFound), isRefusal(err):
		return &UnsupportedError{q.feature, plain(err), q.since}
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return &UnsupportedError{q.feature, plain(err) + p.refusalNote(), q.since}
	}
	return fmt.Errorf("probe %s: %w", q.feature, err)
}

// refusalNote says what is known of who refuses.
func (p *prober) refusalNote() string {
	text := ", though this process has every privilege for it: the kernel, or what it runs on, forbids it"
	if p.lockdown != "" && p.lockdown != "none" {
		text += " (lockdown is on: " + p.lockdown + ")"
	}
	return text
}

// isRefusal tells whether an errno says that the kernel does not know what it
// was asked for. What is asked for is correct and constant, so that an invalid
// argument is one that this kernel does not know yet.
func isRefusal(err error) bool {
	var verdict *ebpf.VerifierError
	if errors.As(err, &verdict) && errors.Is(err, unix.EACCES) && len(verdict.Log) > 0 {
		return true // the verifier's, not a privilege
	}
	const enotsupp = unix.Errno(524) // the kernel's own, not in its API
	for _, no := range []unix.Errno{unix.EINVAL, unix.ENOENT, unix.ENOSYS, unix.EOPNOTSUPP, enotsupp, unix.ESRCH, unix.E2BIG, unix.EADDRNOTAVAIL, unix.ENODEV} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// plain is an error's text with the verifier's last word in place of its log.
func plain(err error) string {
	var verdict *ebpf.VerifierError
	var no unix.Errno
	if !errors.As(err, &verdict) || !errors.As(err, &no) {
		return err.Error()
	}
	stage, _, _ := strings.Cut(err.Error(), ": ")
	text := no.Error()
	for _, line := range verdict.Log {
		if strings.Contains(line, "processed ") || strings.TrimSpace(line) == "" || strings.Contains(line, ": (") {
			continue // statistics and listed instructions
		}
		text = strings.TrimSpace(line)
	}
	return stage + ": " + text
}

// reasonError ends a probe with a finding, where it is not an error of the
// kernel's.
type reasonError struct{ reason string }

func (e *reasonError) Error() string { return e.reason }

func unsupported(format string, args ...any) error {
	return &reasonError{fmt.Sprintf(format, args...)}
}
