// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// process is the process that an event is about; nil when it is about none.
func process(e *tetragon.GetEventsResponse) *tetragon.Process {
	switch of := e.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessExec:
		return of.ProcessExec.GetProcess()
	case *tetragon.GetEventsResponse_ProcessExit:
		return of.ProcessExit.GetProcess()
	}
	if of := policyEvent(e); of != nil {
		return of.GetProcess()
	}
	return nil
}

// ofPolicy is an event that a policy's rule made.
type ofPolicy interface {
	GetProcess() *tetragon.Process
	GetParent() *tetragon.Process
	GetPolicyName() string
}

// policyEvent is nil for events of no policy.
func policyEvent(e *tetragon.GetEventsResponse) ofPolicy {
	switch of := e.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessTracepoint:
		return of.ProcessTracepoint
	case *tetragon.GetEventsResponse_ProcessKprobe:
		return of.ProcessKprobe
	case *tetragon.GetEventsResponse_ProcessLsm:
		return of.ProcessLsm
	}
	return nil
}

// parent is the parent of that process; nil when it is not known.
func parent(e *tetragon.GetEventsResponse) *tetragon.Process {
	switch of := e.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessExec:
		return of.ProcessExec.GetParent()
	case *tetragon.GetEventsResponse_ProcessExit:
		return of.ProcessExit.GetParent()
	}
	if of := policyEvent(e); of != nil {
		return of.GetParent()
	}
	return nil
}

func podName(p *tetragon.Process) string       { return p.GetPod().GetName() }
func namespace(p *tetragon.Process) string     { return p.GetPod().GetNamespace() }
func containerName(p *tetragon.Process) string { return p.GetPod().GetContainer().GetName() }

// Type is an event's type, UNDEF for one of a type that the agent does not make.
func Type(e *tetragon.GetEventsResponse) tetragon.EventType {
	switch e.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessExec:
		return tetragon.EventType_PROCESS_EXEC
	case *tetragon.GetEventsResponse_ProcessExit:
		return tetragon.EventType_PROCESS_EXIT
	case *tetragon.GetEventsResponse_ProcessTracepoint:
		return tetragon.EventType_PROCESS_TRACEPOINT
	case *tetragon.GetEventsResponse_ProcessKprobe:
		return tetragon.EventType_PROCESS_KPROBE
	case *tetragon.GetEventsResponse_ProcessLsm:
		return tetragon.EventType_PROCESS_LSM
	case *tetragon.GetEventsResponse_RateLimitInfo:
		return tetragon.EventType_RATE_LIMIT_INFO
	}
	return tetragon.EventType_UNDEF
}

// eventSet refuses types that do not exist; those that the agent does not make
// are fine, and hold for nothing.
func eventSet(f *tetragon.Filter) (holds predicate, errs []error) {
	set := f.GetEventSet()
	for i, t := range set {
		if _, ok := tetragon.EventType_name[int32(t)]; !ok {
			errs = append(errs, fmt.Errorf("[%d]: %d: no such event type", i, t))
		}
	}
	return func(e *tetragon.GetEventsResponse) bool { return slices.Contains(set, Type(e)) }, errs
}

// ofProcess holds when test does for the process of an event.
func ofProcess(test func(*tetragon.Process) bool) predicate {
	return func(e *tetragon.GetEventsResponse) bool {
		p := process(e)
		return p != nil && test(p)
	}
}

func pids(f *tetragon.Filter) (predicate, []error) {
	set := f.GetPid()
	return ofProcess(func(p *tetragon.Process) bool {
		return p.GetPid() != nil && slices.Contains(set, p.GetPid().GetValue())
	}), nil
}

// namespaces: the empty name is a process that is in no pod.
func namespaces(f *tetragon.Filter) (predicate, []error) {
	set := f.GetNamespace()
	return ofProcess(func(p *tetragon.Process) bool { return slices.Contains(set, namespace(p)) }), nil
}

// containerIDs compares beginnings. The empty one is no container's.
func containerIDs(f *tetragon.Filter) (predicate, []error) {
	set := f.GetContainerId()
	return ofProcess(func(p *tetragon.Process) bool {
		id := p.GetPod().GetContainer().GetId()
		if id == "" {
			id = p.GetDocker() // its first 31 characters
		}
		return slices.ContainsFunc(set, func(prefix string) bool { return prefix != "" && strings.HasPrefix(id, prefix) })
	}), nil
}

// policyNames holds for events of policies only.
func policyNames(f *tetragon.Filter) (predicate, []error) {
	set := f.GetPolicyNames()
	return func(e *tetragon.GetEventsResponse) bool {
		of := policyEvent(e)
		return of != nil && slices.Contains(set, of.GetPolicyName())
	}, nil
}

// regexes matches one text of a process with any of a field's expressions.
func regexes(
	values func(*tetragon.Filter) []string,
	who func(*tetragon.GetEventsResponse) *tetragon.Process,
	text func(*tetragon.Process) string,
) field {
	return func(f *tetragon.Filter) (holds predicate, errs []error) {
		var all []*regexp.Regexp
		for i, expression := range values(f) {
			r, err := regexp.Compile(expression)
			if err != nil {
				errs = append(errs, fmt.Errorf("[%d]: %w", i, err))
			}
			all = append(all, r)
		}
		return func(e *tetragon.GetEventsResponse) bool {
			p := who(e)
			if p == nil {
				return false
			}
			s := text(p)
			return slices.ContainsFunc(all, func(r *regexp.Regexp) bool { return r.MatchString(s) })
		}, errs
	}
}
