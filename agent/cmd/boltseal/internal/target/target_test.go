// SPDX-License-Identifier: Apache-2.0

package target

import (
	"errors"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/attach/described"
	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

func TestDescribed(t *testing.T) {
	t.Parallel()
	k, err := Open(t.Context(), "6.12-nobpf")
	if err != nil {
		t.Fatal(err)
	}
	if k.Title != "kernel 6.12-nobpf as described" || k.Can(compile.CanLSM) == nil || k.Can(compile.CanKprobe) != nil ||
		len(k.Unasked()) != 0 || !k.Describes("security_file_open") || k.Describes("do_exit") {
		t.Errorf("%s: lsm %v, kprobe %v, unasked %q", k.Title, k.Can(compile.CanLSM), k.Can(compile.CanKprobe), k.Unasked())
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Open(t.Context(), "4.4"); !errors.Is(err, described.ErrUnknown) {
		t.Errorf("%v", err)
	}
}

// What cannot be asked is taken for granted and told once; what the kernel is
// known to lack is not.
func TestUnasked(t *testing.T) {
	t.Parallel()
	substitute, err := described.Named(described.Newest())
	if err != nil {
		t.Fatal(err)
	}
	r := &running{
		features: kernel.NewFeatures(
			kernel.Answer{Feature: kernel.Signal}, kernel.Answer{Feature: kernel.LSM, Err: errors.New("no privilege")},
			kernel.Answer{Feature: kernel.OverrideReturn, Err: &kernel.UnsupportedError{Feature: kernel.OverrideReturn, Reason: "it lacks it"}},
		),
		pointsErr: errors.New("no hooks"), substitute: substitute,
	}
	k := &Kernel{Kernel: r, running: r}
	for range 2 {
		if err := errors.Join(k.Can(compile.CanSignal), k.Can(compile.CanLSM)); err != nil {
			t.Errorf("%v", err)
		}
		if err := k.Can(compile.CanOverride); !errors.Is(err, kernel.ErrUnsupported) {
			t.Errorf("%v", err)
		}
		if p, err := k.Hook("file_open"); err != nil || !p.Known {
			t.Errorf("%+v, %v", p, err)
		}
	}
	unasked := k.Unasked()
	if len(unasked) != 2 || !strings.Contains(unasked[0], "lsm could not be asked (no privilege)") || !strings.Contains(unasked[1], "(no hooks): those of kernel 7") {
		t.Errorf("%q", unasked)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}
