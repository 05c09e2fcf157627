// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/doctor/canary"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// policyTime bounds the removal of a policy.
const policyTime = 30 * time.Second

const policyHead = `apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: %[1]s
spec:
  containerSelector:
    matchLabels:
      ` + canary.MarkKey + `: %[2]s
`

// killPolicy kills what opens the one file.
const killPolicy = policyHead + `  tracepoints:
  - subsystem: syscalls
    event: sys_enter_openat
    args:
    - {index: 6, type: string}
    selectors:
    - matchArgs:
      - args: [0]
        operator: Equal
        values: [` + canary.Kill + `]
      matchActions:
      - action: Sigkill
`

const denySelectors = `
    selectors:
    - matchArgs:
      - index: %[3]d
        operator: Equal
        values: [` + canary.Deny + `]
      matchActions:
      - action: Override
        argError: -13
`

// The ways to deny the opening of the other file; what a kernel cannot do the agent
// refuses.
const (
	denyByHook = policyHead + `  lsmhooks:
  - hook: file_open
    args:
    - {index: 0, type: file}` + denySelectors
	denyByCall = policyHead + `  kprobes:
  - call: sys_openat
    syscall: true
    args:
    - {index: 1, type: string}` + denySelectors
)

// policies are those of one run.
type policies struct {
	run        *run
	name, mark string
	// denyErr is why nothing can be denied; nil: a policy denies.
	killErr, denyErr error
}

func (p *policies) denies() bool { return p.denyErr == nil }
func (p *policies) kill() string { return p.name + "-kill" }
func (p *policies) deny() string { return p.name + "-deny" }

// enforce adds the policies, which are for canaries with the mark alone.
func (p *policies) enforce(ctx context.Context) {
	p.killErr = p.add(ctx, fmt.Sprintf(killPolicy, p.kill(), p.mark))
	if p.denyErr = p.add(ctx, fmt.Sprintf(denyByHook, p.deny(), p.mark, 0)); p.denyErr != nil {
		if err := p.add(ctx, fmt.Sprintf(denyByCall, p.deny(), p.mark, 1)); err == nil {
			p.denyErr = nil
		}
	}
}

// add adds one policy. The call is not cut short by the context: whether the policy
// is in force then would not be known.
func (p *policies) add(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), policyTime)
	defer cancel()
	if _, err := p.run.Agent.AddTracingPolicy(ctx, &tetragon.AddTracingPolicyRequest{Yaml: text}); err != nil {
		return errors.New(status.Convert(err).Message())
	}
	return nil
}

// remove removes both, whatever became of them.
func (p *policies) remove() error {
	var errs []error
	for _, name := range []string{p.kill(), p.deny()} {
		ctx, cancel := context.WithTimeout(context.Background(), policyTime)
		_, err := p.run.Agent.DeleteTracingPolicy(ctx, &tetragon.DeleteTracingPolicyRequest{Name: name})
		cancel()
		// An agent that has gone has taken its policies with it.
		if c := status.Code(err); err != nil && c != codes.NotFound && c != codes.Unavailable {
			errs = append(errs, fmt.Errorf("policy %s: %s", name, status.Convert(err).Message()))
		}
	}
	return errors.Join(errs...)
}
