// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"slices"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// record is an event as policies see it.
type record struct {
	process *tetragon.Process
	parent  *tetragon.Process
	// args are the arguments, and after them the items of data.
	args []*tetragon.KprobeArgument
	// result is what the call returned; nil where the event does not tell.
	result *tetragon.KprobeArgument
	// policy is the one that recorded the event; empty for an exec.
	policy string
	// exec: the event is of a program that was executed, which no policy recorded.
	exec bool
	// at tells whether the event is of a site.
	at func(compile.Site) bool
	// nodeLabels are those of the node that sent the event.
	nodeLabels map[string]string
}

// recordOf is nil for an event that is of no hook.
func recordOf(e *tetragon.GetEventsResponse) *record {
	r := recordOfEvent(e)
	if r != nil {
		r.nodeLabels = e.GetNodeLabels()
	}
	return r
}

func recordOfEvent(e *tetragon.GetEventsResponse) *record {
	switch event := e.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessTracepoint:
		t := event.ProcessTracepoint
		return &record{process: t.GetProcess(), parent: t.GetParent(), args: t.GetArgs(), policy: t.GetPolicyName(), at: func(s compile.Site) bool {
			raw := s.Kind == compile.RawTracepoint && t.GetSubsys() == ""
			return (raw || s.Kind == compile.Tracepoint && s.Subsystem == t.GetSubsys()) && s.Name == t.GetEvent()
		}}
	case *tetragon.GetEventsResponse_ProcessKprobe:
		k := event.ProcessKprobe
		args := slices.Concat(k.GetArgs(), k.GetData())
		return &record{process: k.GetProcess(), parent: k.GetParent(), args: args, result: k.GetReturn(), policy: k.GetPolicyName(), at: func(s compile.Site) bool {
			switch s.Kind {
			case compile.Kprobe, compile.KprobeOverride, compile.ModifyReturn, compile.Fentry:
				return s.Name == k.GetFunctionName() || slices.Contains(s.Functions(), k.GetFunctionName())
			default:
				return false
			}
		}}
	case *tetragon.GetEventsResponse_ProcessLsm:
		l := event.ProcessLsm
		return &record{process: l.GetProcess(), parent: l.GetParent(), args: l.GetArgs(), policy: l.GetPolicyName(), at: func(s compile.Site) bool {
			return s.Kind == compile.LSM && s.Name == l.GetFunctionName()
		}}
	case *tetragon.GetEventsResponse_ProcessExec:
		return &record{process: event.ProcessExec.GetProcess(), parent: event.ProcessExec.GetParent(), exec: true, at: executes}
	}
	return nil
}

// executes tells whether every program that is executed passes a site: with the
// file that is told as the binary, which for a script is its interpreter. Which
// system call it came by an event does not tell.
func executes(s compile.Site) bool {
	switch s.Kind {
	case compile.Tracepoint, compile.RawTracepoint:
		return s.Name == "sched_process_exec"
	case compile.LSM:
		return s.Name == "bprm_check_security"
	}
	return s.Name == "security_bprm_check"
}

// recorder is the hook, of the policies that are known, that recorded an event:
// nil when it is not known.
func (r *record) recorder(known, simulated []*compile.Policy) *compile.Hook {
	for _, list := range [][]*compile.Policy{known, simulated} {
		for _, p := range list {
			if p.Name != r.policy {
				continue
			}
			for i := range p.Hooks {
				if h := &p.Hooks[i]; r.at(h.Site) && r.fits(h) {
					return h
				}
			}
		}
	}
	return nil
}

// fits tells whether the arguments of the event can be those of a hook: as many,
// with its labels and of its types.
func (r *record) fits(h *compile.Hook) bool {
	if len(r.args) != len(h.Types) {
		return false
	}
	for i, a := range r.args {
		if a.GetLabel() != h.Labels[i] || a.GetArg() != nil && !holds(a, h.Types[i]) {
			return false
		}
	}
	return true
}

// holds tells whether the value of an argument is one of a type.
func holds(a *tetragon.KprobeArgument, t policy.ArgType) bool {
	_, ok := argument(a, t)
	return ok
}
