// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/doctor/canary"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// ErrLeft says that something could not be removed.
var ErrLeft = canary.ErrLeft

// Agent is what is asked of the agent.
type Agent interface {
	tetragon.FineGuidanceSensorsClient
	boltseal.BoltsealClient
}

// Registration is how a runtime is told of boltseal.
type Registration struct {
	Registered bool
	// How says in a line how, or what is wrong, and Do what to do then.
	How, Do string
}

// Registrations looks at the configuration of runtimes.
type Registrations interface {
	Registration(ctx context.Context, runtime string) (Registration, error)
}

// Options says what to look at.
type Options struct {
	// Agent is the running one, at Address, "unix:///path".
	Agent   Agent
	Address string
	// Unreachable turns an error of a call to the agent into words.
	Unreachable func(context.Context, error) string
	// CallTime is for one call to the agent.
	CallTime time.Duration
	// TellTime is how long the agent may take to tell of what happened.
	TellTime time.Duration
	// Version is that of this program, Now the time.
	Version string
	Now     func() time.Time
	// Hook is boltseal-hook, and HookConfig its configuration, empty for the usual one.
	Hook, HookConfig string
	// Host is where to look at the kernel.
	Host Host
	// Runtimes are those of the host, Only the names of those to look at; empty: all.
	Runtimes []canary.Runtime
	Only     []string
	// Registrations may be nil: then only canaries show who is registered.
	Registrations Registrations
	// Each is called with every check at once; it may be nil.
	Each func(Check)
}

// run is one run.
type run struct {
	Options
	report Report

	status *boltseal.GetStatusResponse // nil: the agent did not answer
	hook   *hook                       // nil: it cannot be used
}

// Run looks at everything. The error is the context's cause when it ended before,
// and wraps ErrLeft when something could not be removed; what fails is in the report.
func Run(ctx context.Context, o Options) (Report, error) {
	r := &run{Options: o}
	r.askAgent(ctx)
	r.lookAtHost()
	r.lookAtAgent(ctx)
	r.lookAtHook(ctx)
	err := r.lookAtRuntimes(ctx)
	if ctx.Err() != nil && !errors.Is(err, ErrLeft) {
		err = context.Cause(ctx)
	}
	return r.report, err
}

// call bounds one call to the agent.
func (r *run) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, r.CallTime)
}

// lookAtRuntimes proves each runtime that is asked for.
func (r *run) lookAtRuntimes(ctx context.Context) error {
	chosen, absent := r.choose()
	for _, name := range absent {
		r.tell(name, fail("not found on this host").but("install it, or leave out --runtime %s", name))
	}
	if len(chosen) == 0 {
		if len(absent) == 0 {
			r.tell("runtimes", notProven("no container runtime is on this host"))
		}
		return nil
	}
	scene, err := canary.New()
	if err != nil {
		r.tell("canaries", notProven("cannot be made: %v", err))
		return nil
	}
	err = r.prove(ctx, scene, chosen)
	return errors.Join(err, left(scene.Close()))
}

func left(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrLeft, err)
}

// choose returns the runtimes to look at, and the names that are not here.
func (r *run) choose() (chosen []canary.Runtime, absent []string) {
	if len(r.Only) == 0 {
		return r.Runtimes, nil
	}
	for _, name := range r.Only {
		found := false
		for _, runtime := range r.Runtimes {
			if runtime.Name() == name {
				chosen, found = append(chosen, runtime), true
			}
		}
		if !found {
			absent = append(absent, name)
		}
	}
	return chosen, absent
}
