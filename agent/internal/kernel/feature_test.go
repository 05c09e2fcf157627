// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestFeatures(t *testing.T) {
	t.Parallel()
	no := &UnsupportedError{Kprobe, "there is none", "4.17"}
	unknown := errors.New("who knows")
	answers := []Answer{{BTF, nil}, {Kprobe, no}, {LSM, unknown}, {BTF, unknown}}
	f := NewFeatures(answers...)
	answers[0].Err = unknown // the caller's slice is not ours
	if err := f.Err(BTF); err != nil || !f.Has(BTF) {
		t.Errorf("btf: %v", err)
	}
	if err := f.Err(Kprobe); !errors.Is(err, ErrUnsupported) || f.Has(Kprobe) {
		t.Errorf("kprobe: %v", err)
	}
	if got, want := f.Err(Kprobe).Error(), "kprobe is not supported by this kernel: there is none (Linux 4.17 and later can have it)"; got != want {
		t.Errorf("text %q", got)
	}
	if err := f.Err(LSM); !errors.Is(err, unknown) || errors.Is(err, ErrUnsupported) || f.Has(LSM) {
		t.Errorf("lsm: %v", err)
	}
	for _, f := range []Features{f, {}} {
		if err := f.Err(Signal); !errors.Is(err, ErrNotProbed) || errors.Is(err, ErrUnsupported) || f.Has(Signal) {
			t.Errorf("signal: %v", err)
		}
	}
}

// The names are those that clients of GetInfo know.
func TestInfoProbes(t *testing.T) {
	t.Parallel()
	want := []string{
		"override_return", "buildid", "kprobe_multi", "uprobe_multi", "fmodret", "fmodret_syscall", "signal", "large", "link_pin", "lsm",
		"missed_stats_kprobe_multi", "missed_stats_kprobe", "batch_update", "uprobe_refctroff", "audit_loginuid", "probe_write_user", "uprobe_regs_change",
	}
	var got []string
	for _, a := range NewFeatures(Answer{Signal, nil}).InfoProbes() {
		got = append(got, string(a.Feature))
		if (a.Err == nil) != (a.Feature == Signal) {
			t.Errorf("%s: %v", a.Feature, a.Err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	const yes, no, unknown = "supported", "unsupported", "unknown"
	lacks := errors.New("lacks CAP_BPF")
	verifier := func(cause error, log ...string) error {
		return fmt.Errorf("load program: %w", &ebpf.VerifierError{Cause: cause, Log: log})
	}
	tests := []struct {
		name         string
		err          error
		unprivileged error
		want, text   string
	}{
		{"done", nil, nil, yes, ""},
		{"done_without_privileges", nil, lacks, yes, ""},
		{"finding", unsupported("it is not %s", "there"), lacks, no, "x is not supported by this kernel: it is not there (Linux 9.9 and later can have it)"},
		{"wrapped_finding", fmt.Errorf("attach: %w", unsupported("none")), nil, no, "x is not supported by this kernel: none (Linux 9.9 and later can have it)"},
		{"library_says_so", fmt.Errorf("y: %w", ebpf.ErrNotSupported), nil, no, ""},
		{"type_is_missing", fmt.Errorf("y: %w", btf.ErrNotFound), nil, no, ""},
		{"unknown_argument", fmt.Errorf("y: %w", unix.EINVAL), nil, no, ""},
		{"unknown_call", unix.ENOSYS, nil, no, ""},
		{"unknown_operation", unix.Errno(524), nil, no, ""},
		{"refused_by_verifier", verifier(unix.EACCES, "0: (61) r2 = 1", "invalid access", "processed 1 insns"), nil, no,
			"x is not supported by this kernel: load program: invalid access (Linux 9.9 and later can have it)"},
		{"refused_to_the_privileged", fmt.Errorf("y: %w", unix.EPERM), nil, no, ""},
		{"refused_to_others", fmt.Errorf("y: %w", unix.EPERM), lacks, unknown, "probe x: y: operation not permitted: lacks CAP_BPF"},
		{"misread_by_library", fmt.Errorf("y: %w", ebpf.ErrNotSupported), lacks, unknown, "probe x: y: not supported: lacks CAP_BPF"},
		{"no_memory", unix.ENOMEM, nil, unknown, ""},
		{"busy", unix.EBUSY, nil, unknown, ""},
		{"no_descriptor", unix.EMFILE, nil, unknown, ""},
		{"anything_else", errors.New("y"), nil, unknown, "probe x: y"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &prober{unprivileged: tt.unprivileged}
			err := p.judge(question{feature: "x", since: "9.9"}, tt.err)
			got := unknown
			switch {
			case err == nil:
				got = yes
			case errors.Is(err, ErrUnsupported):
				got = no
			}
			if got != tt.want || (tt.text != "" && err.Error() != tt.text) {
				t.Errorf("judge = %v", err)
			}
		})
	}
}
