// SPDX-License-Identifier: Apache-2.0

package target

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/attach"
	"github.com/boltseal/boltseal/agent/internal/attach/described"
	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// Kernel is what a policy is compiled for. Close it after use.
type Kernel struct {
	compile.Kernel
	// Title names it for people.
	Title string
	// Describes is as in explain.Kernel.
	Describes func(function string) bool

	running *running
}

// Open finds a kernel: a described one by name, or the running one with "". It
// asks the running one what it can do, as the agent does.
func Open(ctx context.Context, name string) (*Kernel, error) {
	if name != "" {
		k, err := described.Named(name)
		if err != nil {
			return nil, err
		}
		return &Kernel{Kernel: k, Title: "kernel " + name + " as described", Describes: k.Describes}, nil
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("ask for the kernel's release: %w", err)
	}
	substitute, err := described.Named(described.Newest())
	if err != nil {
		return nil, err
	}
	r := &running{substitute: substitute}
	r.features = kernel.Probe(ctx, kernel.Options{Only: mechanisms()})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.points, r.pointsErr = attach.Open(r.features)
	return &Kernel{
		Kernel: r, Title: "Linux " + unix.ByteSliceToString(uts.Release[:]) + ", which runs here", running: r,
		Describes: func(string) bool { return r.pointsErr == nil },
	}, nil
}

// mechanisms are the features that compiling asks for.
func mechanisms() []kernel.Feature {
	var features []kernel.Feature
	for m := compile.CanKprobe; ; m++ {
		feature, ok := attach.FeatureOf(m)
		if !ok {
			return features
		}
		features = append(features, feature)
	}
}

// Unasked is what could not be asked of the kernel so far, and was taken for
// granted.
func (k *Kernel) Unasked() []string {
	if k.running == nil {
		return nil
	}
	k.running.mu.Lock()
	defer k.running.mu.Unlock()
	return slices.Clone(k.running.unasked)
}

// Close gives up what asking took.
func (k *Kernel) Close() error {
	if k.running != nil && k.running.points != nil {
		return k.running.points.Close()
	}
	return nil
}

// running is the kernel that runs, with a description in place of what it does
// not tell.
type running struct {
	features  kernel.Features
	points    *attach.Points
	pointsErr error

	substitute *described.Kernel

	mu      sync.Mutex
	unasked []string
}

func (r *running) assume(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.unasked, text) {
		r.unasked = append(r.unasked, text)
	}
}

// hooks is where hooks are looked up.
func (r *running) hooks() compile.Kernel {
	if r.pointsErr == nil {
		return r.points
	}
	reason, _, _ := strings.Cut(r.pointsErr.Error(), "\n")
	r.assume("the hooks of this kernel could not be listed (%s): those of kernel %s as described stand for them", reason, r.substitute.Name())
	return r.substitute
}

// Can is compile.Kernel: what could not be asked is taken for there.
func (r *running) Can(m compile.Mechanism) error {
	feature, ok := attach.FeatureOf(m)
	if !ok {
		return fmt.Errorf("unknown mechanism %d", m)
	}
	err := r.features.Err(feature)
	if err != nil && !errors.Is(err, kernel.ErrUnsupported) {
		r.assume("whether this kernel can do %s could not be asked (%v): it is taken for able", feature, err)
		return nil
	}
	if err == nil && r.pointsErr == nil {
		return r.points.Can(m)
	}
	return err
}

// The rest of compile.Kernel is the hooks'.

func (r *running) Misses(kind compile.SiteKind, syscall bool) bool {
	return r.hooks().Misses(kind, syscall)
}

func (r *running) Tracepoint(subsystem, event string) ([]compile.Field, error) {
	return r.hooks().Tracepoint(subsystem, event)
}

func (r *running) Function(name string) (compile.Prototype, error) { return r.hooks().Function(name) }

func (r *running) Hook(name string) (compile.Prototype, error) { return r.hooks().Hook(name) }

func (r *running) RawTracepoint(name string) (compile.Prototype, error) {
	return r.hooks().RawTracepoint(name)
}

func (r *running) SyscallFunction(call string) (string, bool, error) {
	return r.hooks().SyscallFunction(call)
}

func (r *running) Functions() ([]string, error) { return r.hooks().Functions() }

func (r *running) Syscalls() ([]string, error) { return r.hooks().Syscalls() }

func (r *running) Member(from compile.Start, path string) (compile.Member, error) {
	return r.hooks().Member(from, path)
}

func (r *running) Registers() compile.Registers { return r.hooks().Registers() }

func (r *running) HostNamespace(n policy.Namespace) (uint32, error) {
	return r.hooks().HostNamespace(n)
}
