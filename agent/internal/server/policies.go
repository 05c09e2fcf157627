// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"

	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// AddTracingPolicy puts a policy in force; one with its name is replaced in one
// step.
func (s *Server) AddTracingPolicy(_ context.Context, r *tetragon.AddTracingPolicyRequest) (*tetragon.AddTracingPolicyResponse, error) {
	if err := noDomain(r.GetDomain()); err != nil {
		return nil, failure(err)
	}
	p, err := s.Control.AddPolicy([]byte(r.GetYaml()))
	if err != nil {
		return nil, failure(err)
	}
	s.Log.Info("policy added", "policy", p.Key(), "mode", p.Mode.String())
	return &tetragon.AddTracingPolicyResponse{}, nil
}

// noDomain refuses domains other than the one that all policies are in: the API
// has one of its own for each way in, which this agent does not keep apart.
func noDomain(domain string) error {
	if domain == "" || domain == domainGRPC {
		return nil
	}
	return fmt.Errorf("%w request: domain %q: only %q", control.ErrInvalid, domain, domainGRPC)
}

const domainGRPC = "grpc"

// DeleteTracingPolicy takes a policy out of force.
func (s *Server) DeleteTracingPolicy(_ context.Context, r *tetragon.DeleteTracingPolicyRequest) (*tetragon.DeleteTracingPolicyResponse, error) {
	if err := noDomain(r.GetDomain()); err != nil {
		return nil, failure(err)
	}
	if err := s.Control.DeletePolicy(r.GetNamespace(), r.GetName()); err != nil {
		return nil, failure(err)
	}
	s.Log.Info("policy deleted", "policy", r.GetName(), "namespace", r.GetNamespace())
	return &tetragon.DeleteTracingPolicyResponse{}, nil
}

// EnableTracingPolicy enables a policy that was disabled.
func (s *Server) EnableTracingPolicy(_ context.Context, r *tetragon.EnableTracingPolicyRequest) (*tetragon.EnableTracingPolicyResponse, error) {
	if err := s.configure(r.GetDomain(), r.GetNamespace(), r.GetName(), new(true), nil); err != nil {
		return nil, failure(err)
	}
	return &tetragon.EnableTracingPolicyResponse{}, nil
}

// DisableTracingPolicy keeps a policy loaded and out of force.
func (s *Server) DisableTracingPolicy(_ context.Context, r *tetragon.DisableTracingPolicyRequest) (*tetragon.DisableTracingPolicyResponse, error) {
	if err := s.configure(r.GetDomain(), r.GetNamespace(), r.GetName(), new(false), nil); err != nil {
		return nil, failure(err)
	}
	return &tetragon.DisableTracingPolicyResponse{}, nil
}

// ConfigureTracingPolicy enables, disables or changes the mode of a policy, both
// in one step.
func (s *Server) ConfigureTracingPolicy(_ context.Context, r *tetragon.ConfigureTracingPolicyRequest) (*tetragon.ConfigureTracingPolicyResponse, error) {
	var mode *policy.Mode
	if r.Mode != nil {
		m, ok := modeOf(r.GetMode())
		if !ok {
			return nil, failure(fmt.Errorf("%w request: mode %s: only TP_MODE_ENFORCE and TP_MODE_MONITOR can be chosen", control.ErrInvalid, r.GetMode()))
		}
		mode = &m
	}
	if err := s.configure(r.GetDomain(), r.GetNamespace(), r.GetName(), r.Enable, mode); err != nil {
		return nil, failure(err)
	}
	return &tetragon.ConfigureTracingPolicyResponse{}, nil
}

func (s *Server) configure(domain, namespace, name string, enable *bool, mode *policy.Mode) error {
	if err := noDomain(domain); err != nil {
		return err
	}
	if err := s.Control.ConfigurePolicy(namespace, name, enable, mode); err != nil {
		return err
	}
	s.Log.Info("policy configured", "policy", name, "namespace", namespace, "enable", enable, "mode", mode)
	return nil
}

func modeOf(m tetragon.TracingPolicyMode) (policy.Mode, bool) {
	switch m {
	case tetragon.TracingPolicyMode_TP_MODE_ENFORCE:
		return policy.Enforce, true
	case tetragon.TracingPolicyMode_TP_MODE_MONITOR:
		return policy.Monitor, true
	}
	return 0, false
}

// ListTracingPolicies lists policies with their states and counters.
func (s *Server) ListTracingPolicies(_ context.Context, r *tetragon.ListTracingPoliciesRequest) (*tetragon.ListTracingPoliciesResponse, error) {
	response := &tetragon.ListTracingPoliciesResponse{}
	if domain := r.GetDomain(); domain != "" && domain != domainGRPC {
		return response, nil
	}
	policies, err := s.Control.Policies()
	if err != nil {
		return nil, failure(err)
	}
	for _, p := range policies {
		response.Policies = append(response.Policies, policyStatus(p))
	}
	return response, nil
}

func policyStatus(p control.PolicyStatus) *tetragon.TracingPolicyStatus {
	out := &tetragon.TracingPolicyStatus{
		Id:                p.ID,
		Name:              p.Policy.Name,
		Namespace:         p.Policy.Namespace,
		Domain:            domainGRPC,
		Enabled:           p.Enabled, //nolint:staticcheck // deprecated, and still read by clients
		State:             tetragon.TracingPolicyState_TP_STATE_DISABLED,
		KernelMemoryBytes: p.KernelMemory,
		FilterId:          p.ID,
		Sensors:           p.Sites,
		Stats: &tetragon.TracingPolicyStats{ActionCounters: &tetragon.TracingPolicyActionCounters{
			Post:                  p.Counters.Post,
			Nopost:                p.Counters.NoPost + p.Counters.Limited, // the API has no field for rates
			Signal:                p.Counters.Signal,
			MonitorSignal:         p.Counters.MonitorSignal,
			Override:              p.Counters.Override,
			MonitorOverride:       p.Counters.MonitorOverride,
			NotifyEnforcer:        p.Counters.Notify,
			MonitorNotifyEnforcer: p.Counters.MonitorNotify,
		}},
	}
	for _, h := range p.Hooks {
		out.HookStatuses = append(out.HookStatuses, &tetragon.HookStatus{
			Section: h.Section.String(), HookIdx: uint32(h.Index), State: tetragon.HookState_STATUS_LOADED,
			HookDescription: h.Site + ": " + h.Guarantee,
		})
	}
	if p.Enabled {
		out.State = tetragon.TracingPolicyState_TP_STATE_ENABLED
	}
	switch p.Policy.Mode {
	case policy.Enforce:
		out.Mode = tetragon.TracingPolicyMode_TP_MODE_ENFORCE
	case policy.Monitor:
		out.Mode = tetragon.TracingPolicyMode_TP_MODE_MONITOR
	case policy.MonitorOnly:
		out.Mode = tetragon.TracingPolicyMode_TP_MODE_MONITOR_ONLY
	}
	return out
}
