// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// AddTracingPolicy puts a policy in force; one with its name is replaced in one
// step.
func (s *Server) AddTracingPolicy(ctx context.Context, r *tetragon.AddTracingPolicyRequest) (*tetragon.AddTracingPolicyResponse, error) {
	if err := noDomain(r.GetDomain()); err != nil {
		return nil, failure(err)
	}
	p, err := s.Control.AddPolicy([]byte(r.GetYaml()))
	if err != nil {
		return nil, failure(err)
	}
	s.Log.Info("policy added", "policy", p.Key(), "mode", p.Mode.String(), "caller", callerOf(ctx))
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
func (s *Server) DeleteTracingPolicy(ctx context.Context, r *tetragon.DeleteTracingPolicyRequest) (*tetragon.DeleteTracingPolicyResponse, error) {
	if err := s.delete(ctx, r.GetDomain(), r.GetNamespace(), r.GetName()); err != nil {
		return nil, failure(err)
	}
	return &tetragon.DeleteTracingPolicyResponse{}, nil
}

func (s *Server) delete(ctx context.Context, domain, namespace, name string) error {
	if err := noDomain(domain); err != nil {
		return err
	}
	if err := s.Control.DeletePolicy(namespace, name); err != nil {
		return err
	}
	s.Log.Info("policy deleted", "policy", name, "namespace", namespace, "caller", callerOf(ctx))
	return nil
}

// EnableTracingPolicy enables a policy that was disabled.
func (s *Server) EnableTracingPolicy(ctx context.Context, r *tetragon.EnableTracingPolicyRequest) (*tetragon.EnableTracingPolicyResponse, error) {
	if err := s.configure(ctx, r.GetDomain(), r.GetNamespace(), r.GetName(), new(true), nil); err != nil {
		return nil, failure(err)
	}
	return &tetragon.EnableTracingPolicyResponse{}, nil
}

// DisableTracingPolicy keeps a policy loaded and out of force.
func (s *Server) DisableTracingPolicy(ctx context.Context, r *tetragon.DisableTracingPolicyRequest) (*tetragon.DisableTracingPolicyResponse, error) {
	if err := s.configure(ctx, r.GetDomain(), r.GetNamespace(), r.GetName(), new(false), nil); err != nil {
		return nil, failure(err)
	}
	return &tetragon.DisableTracingPolicyResponse{}, nil
}

// ConfigureTracingPolicy enables, disables or changes the mode of a policy, both
// in one step.
func (s *Server) ConfigureTracingPolicy(ctx context.Context, r *tetragon.ConfigureTracingPolicyRequest) (*tetragon.ConfigureTracingPolicyResponse, error) {
	var mode *policy.Mode
	if r.Mode != nil {
		m, ok := modeOf(r.GetMode())
		if !ok {
			return nil, failure(fmt.Errorf("%w request: mode %s: only TP_MODE_ENFORCE and TP_MODE_MONITOR can be chosen", control.ErrInvalid, r.GetMode()))
		}
		mode = &m
	}
	if err := s.configure(ctx, r.GetDomain(), r.GetNamespace(), r.GetName(), r.Enable, mode); err != nil {
		return nil, failure(err)
	}
	return &tetragon.ConfigureTracingPolicyResponse{}, nil
}

func (s *Server) configure(ctx context.Context, domain, namespace, name string, enable *bool, mode *policy.Mode) error {
	if err := noDomain(domain); err != nil {
		return err
	}
	if err := s.Control.ConfigurePolicy(namespace, name, enable, mode); err != nil {
		return err
	}
	s.Log.Info("policy configured", "policy", name, "namespace", namespace, "enable", given(enable), "mode", given(mode), "caller", callerOf(ctx))
	return nil
}

// given is what a request says, for the log; "unchanged" when it says nothing.
func given[T any](value *T) any {
	if value == nil {
		return "unchanged"
	}
	return *value
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
	if s.PolicyFaults != nil {
		response.Policies = addFaults(response.Policies, s.PolicyFaults())
	}
	return response, nil
}

// addFaults tells of files that are not in force as they are: with the policy that is
// left of them, or as one that could not be loaded.
func addFaults(listed []*tetragon.TracingPolicyStatus, faults []PolicyFault) []*tetragon.TracingPolicyStatus {
	byKey := map[string]*tetragon.TracingPolicyStatus{}
	for _, p := range listed {
		key := p.GetName()
		if p.GetNamespace() != "" {
			key = p.GetNamespace() + "/" + key
		}
		byKey[key] = p
	}
	for _, f := range faults {
		text := strings.ToValidUTF8(fmt.Sprintf("file %s: %v", f.File, f.Err), "\uFFFD")
		if p := byKey[f.Key]; p != nil && p.GetInfo() == fromFile(f.File) {
			p.Error = text
			continue
		}
		namespace, name, namespaced := strings.Cut(f.Key, "/")
		switch {
		case f.Key == "":
			namespace, name = "", filepath.Base(f.File)
		case !namespaced:
			namespace, name = "", f.Key
		}
		listed = append(listed, &tetragon.TracingPolicyStatus{
			Name: strings.ToValidUTF8(name, "\uFFFD"), Namespace: namespace, Domain: domainGRPC, Info: fromFile(f.File),
			State: tetragon.TracingPolicyState_TP_STATE_LOAD_ERROR, Error: text,
		})
	}
	return listed
}

// fromFile says where a policy is from; empty for the API.
func fromFile(file string) string {
	if file == "" {
		return ""
	}
	return strings.ToValidUTF8("file "+file, "\uFFFD")
}

func policyStatus(p control.PolicyStatus) *tetragon.TracingPolicyStatus {
	out := &tetragon.TracingPolicyStatus{
		Id:                p.ID,
		Name:              p.Policy.Name,
		Namespace:         p.Policy.Namespace,
		Domain:            domainGRPC,
		Info:              fromFile(p.File),
		Enabled:           p.Enabled, //nolint:staticcheck // deprecated, and still read by clients
		State:             tetragon.TracingPolicyState_TP_STATE_DISABLED,
		KernelMemoryBytes: p.KernelMemory,
		FilterId:          p.ID,
		Sensors:           p.Sites,
		Stats:             &tetragon.TracingPolicyStats{ActionCounters: actionCounters(p.Counters)},
	}
	for _, c := range p.Selectors {
		out.Stats.SelectorActionCounters = append(out.Stats.SelectorActionCounters, &tetragon.TracingPolicySelectorActionCounters{
			Hook: hookName(p.Policy, c.Section, c.Hook), HookIndex: wrapperspb.UInt32(uint32(c.Hook)), SelectorIndex: wrapperspb.UInt32(uint32(c.Index)),
			SelectorLabel: c.Label, ActionCounters: actionCounters(c.Counters),
		})
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

func actionCounters(c engine.Counters) *tetragon.TracingPolicyActionCounters {
	return &tetragon.TracingPolicyActionCounters{
		Post:                  c.Post,
		Nopost:                c.NoPost + c.Limited, // the API has no field for rates
		Signal:                c.Signal,
		MonitorSignal:         c.MonitorSignal,
		Override:              c.Override,
		MonitorOverride:       c.MonitorOverride,
		NotifyEnforcer:        c.Notify,
		MonitorNotifyEnforcer: c.MonitorNotify,
	}
}

func hookName(p *policy.Policy, section policy.Section, index int) string {
	for _, h := range p.Hooks {
		if h.Section == section && h.Index == index {
			return h.Name()
		}
	}
	return ""
}
