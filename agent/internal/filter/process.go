// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/boltseal/boltseal/agent/internal/filter/condition"
	"github.com/boltseal/boltseal/agent/internal/filter/subject"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func podName(p *tetragon.Process) string       { return p.GetPod().GetName() }
func namespace(p *tetragon.Process) string     { return p.GetPod().GetNamespace() }
func containerName(p *tetragon.Process) string { return p.GetPod().GetContainer().GetName() }

// eventSet refuses types that do not exist; those that the agent does not make
// are fine, and hold for nothing.
func eventSet(f *tetragon.Filter) (holds predicate, errs []error) {
	set := f.GetEventSet()
	for i, t := range set {
		if _, ok := tetragon.EventType_name[int32(t)]; !ok {
			errs = append(errs, fmt.Errorf("[%d]: %d: no such event type", i, t))
		}
	}
	return func(e *tetragon.GetEventsResponse) bool { return slices.Contains(set, subject.Type(e)) }, errs
}

// ofProcess holds when test does for the process of an event.
func ofProcess(test func(*tetragon.Process) bool) predicate {
	return func(e *tetragon.GetEventsResponse) bool {
		p := subject.Process(e)
		return p != nil && test(p)
	}
}

// ofParent holds when test does for the parent of that process.
func ofParent(test func(*tetragon.Process) bool) predicate {
	return func(e *tetragon.GetEventsResponse) bool {
		p := subject.Parent(e)
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
		for _, prefix := range set {
			if prefix != "" && strings.HasPrefix(id, prefix) {
				return true
			}
		}
		return false
	}), nil
}

// policyNames holds for events of policies only.
func policyNames(f *tetragon.Filter) (predicate, []error) {
	set := f.GetPolicyNames()
	return func(e *tetragon.GetEventsResponse) bool {
		name, ok := subject.Policy(e)
		return ok && slices.Contains(set, name)
	}, nil
}

// healthCheck takes a process outside of containers for one that is no probe.
func healthCheck(f *tetragon.Filter) (predicate, []error) {
	want := f.GetHealthCheck().GetValue()
	return ofProcess(func(p *tetragon.Process) bool { return p.GetPod().GetContainer().GetMaybeExecProbe() == want }), nil
}

// inInitTree takes a process of which it is not known for one that is not in it.
func inInitTree(f *tetragon.Filter) (predicate, []error) {
	want := f.GetInInitTree().GetValue()
	return ofProcess(func(p *tetragon.Process) bool { return p.GetInInitTree().GetValue() == want }), nil
}

// podLabels reads selectors as Kubernetes writes them. They select pods: none selects
// a process that is in no pod, not even one that asks for the absence of a label.
func podLabels(f *tetragon.Filter) (holds predicate, errs []error) {
	var all []labels.Selector
	for i, text := range f.GetLabels() {
		s, err := labels.Parse(text, field.WithPath(field.NewPath("selector")))
		if err != nil {
			errs = append(errs, fmt.Errorf("[%d]: %w", i, err))
		}
		all = append(all, s)
	}
	return ofProcess(func(p *tetragon.Process) bool {
		if p.GetPod() == nil {
			return false
		}
		set := labels.Set(p.GetPod().GetPodLabels())
		for _, s := range all {
			if s.Matches(set) {
				return true
			}
		}
		return false
	}), errs
}

// celExpressions are conditions: see package condition.
func (c *compilation) celExpressions(f *tetragon.Filter) (holds predicate, errs []error) {
	if c.conditions == nil {
		var err error
		if c.conditions, err = condition.NewCompiler(); err != nil {
			return nil, []error{fmt.Errorf(": %w", err)}
		}
	}
	var all []*condition.Condition
	for i, text := range f.GetCelExpression() {
		one, err := c.conditions.Compile(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("[%d]: %w", i, err))
		}
		all = append(all, one)
	}
	return func(e *tetragon.GetEventsResponse) bool {
		for _, one := range all {
			if one.Holds(e) {
				return true
			}
		}
		return false
	}, errs
}
