// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"slices"

	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Stacks is the stacks of the kernel that the events of policies had.
type Stacks interface {
	// Tree is those of the policy with a key.
	Tree(key string) *tetragon.StackTraceNode
}

// GetStackTraceTree tells from where in the kernel the events of a policy came. The
// name is the policy's, with its namespace and a slash before it if it has one.
func (s *Server) GetStackTraceTree(_ context.Context, r *tetragon.GetStackTraceTreeRequest) (*tetragon.GetStackTraceTreeResponse, error) {
	policies, err := s.Control.Policies()
	if err != nil {
		return nil, failure(err)
	}
	at := slices.IndexFunc(policies, func(p control.PolicyStatus) bool { return p.Policy.Key() == r.GetName() })
	switch {
	case at < 0:
		return nil, failure(fmt.Errorf("policy %q: %w", r.GetName(), control.ErrNotFound))
	case !keepsStacks(policies[at].Policy):
		return nil, failure(fmt.Errorf("stacks of policy %q: %w: none of its actions has kernelStackTrace", r.GetName(), control.ErrNotFound))
	}
	return &tetragon.GetStackTraceTreeResponse{Root: s.Stacks.Tree(r.GetName())}, nil
}

// keepsStacks tells whether events of a policy have stacks of the kernel.
func keepsStacks(p *policy.Policy) bool {
	asks := func(a policy.Action) bool { return a.KernelStack }
	return slices.ContainsFunc(p.Hooks, func(h policy.Hook) bool {
		return slices.ContainsFunc(h.Selectors, func(s policy.Selector) bool {
			return slices.ContainsFunc(s.Actions, asks) || slices.ContainsFunc(s.ReturnActions, asks)
		})
	})
}
