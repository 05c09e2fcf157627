// SPDX-License-Identifier: Apache-2.0

// Package filter decides which events a subscriber gets. Filters are compiled
// once per subscriber; a field that is set but not supported is an error that
// names it, for a filter that is ignored shows what it should hide.
package filter

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// ErrInvalid is wrapped by all errors of Compile.
var ErrInvalid = errors.New("invalid filter")

// Filter is a compiled request. It is safe for concurrent use.
type Filter struct {
	allow, deny []conjunction
}

// conjunction is one filter object: all of its fields must hold.
type conjunction []predicate

type predicate func(*tetragon.GetEventsResponse) bool

// Compile compiles the lists of a request.
func Compile(allow, deny []*tetragon.Filter) (*Filter, error) {
	f := &Filter{}
	var errs []error
	for name, list := range map[string][]*tetragon.Filter{"allow_list": allow, "deny_list": deny} {
		for i, object := range list {
			c, err := compile(object)
			if err != nil {
				errs = append(errs, fmt.Errorf("%w: %s[%d].%w", ErrInvalid, name, i, err))
			}
			if name == "deny_list" {
				f.deny = append(f.deny, c)
			} else {
				f.allow = append(f.allow, c)
			}
		}
	}
	return f, errors.Join(errs...)
}

// Passes tells whether the subscriber gets an event: some object of the allow
// list holds, or there is none, and no object of the deny list does.
func (f *Filter) Passes(e *tetragon.GetEventsResponse) bool {
	holds := func(c conjunction) bool { return c.holds(e) }
	return (len(f.allow) == 0 || slices.ContainsFunc(f.allow, holds)) && !slices.ContainsFunc(f.deny, holds)
}

func (c conjunction) holds(e *tetragon.GetEventsResponse) bool {
	return !slices.ContainsFunc(c, func(p predicate) bool { return !p(e) })
}

// supported is the fields that compile reads, by name.
func supported() map[protoreflect.Name]func(*tetragon.Filter) (predicate, error) {
	return map[protoreflect.Name]func(*tetragon.Filter) (predicate, error){
		"event_set":              eventSet,
		"pid":                    pids,
		"namespace":              namespaces,
		"container_id":           containerIDs,
		"policy_names":           policyNames,
		"binary_regex":           regexField((*tetragon.Filter).GetBinaryRegex, func(e *tetragon.GetEventsResponse) string { return process(e).GetBinary() }),
		"arguments_regex":        regexField((*tetragon.Filter).GetArgumentsRegex, func(e *tetragon.GetEventsResponse) string { return process(e).GetArguments() }),
		"pod_regex":              regexField((*tetragon.Filter).GetPodRegex, func(e *tetragon.GetEventsResponse) string { return process(e).GetPod().GetName() }),
		"parent_binary_regex":    regexField((*tetragon.Filter).GetParentBinaryRegex, func(e *tetragon.GetEventsResponse) string { return parent(e).GetBinary() }),
		"parent_arguments_regex": regexField((*tetragon.Filter).GetParentArgumentsRegex, func(e *tetragon.GetEventsResponse) string { return parent(e).GetArguments() }),
		"namespace_regex":        regexField((*tetragon.Filter).GetNamespaceRegex, func(e *tetragon.GetEventsResponse) string { return process(e).GetPod().GetNamespace() }),
		"container_name_regex":   regexField((*tetragon.Filter).GetContainerNameRegex, func(e *tetragon.GetEventsResponse) string { return process(e).GetPod().GetContainer().GetName() }),
	}
}

func compile(object *tetragon.Filter) (c conjunction, err error) {
	var errs []error
	known := supported()
	object.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		of := known[field.Name()]
		if of == nil {
			errs = append(errs, fmt.Errorf("%s: not supported by this version", field.Name()))
			return true
		}
		p, err := of(object)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s%w", field.Name(), err))
		}
		c = append(c, p)
		return true
	})
	return c, errors.Join(errs...)
}

// process is the process that an event is about; nil when it is about none.
func process(e *tetragon.GetEventsResponse) *tetragon.Process {
	switch {
	case e.GetProcessExec() != nil:
		return e.GetProcessExec().GetProcess()
	case e.GetProcessExit() != nil:
		return e.GetProcessExit().GetProcess()
	}
	return e.GetProcessTracepoint().GetProcess()
}

func parent(e *tetragon.GetEventsResponse) *tetragon.Process {
	switch {
	case e.GetProcessExec() != nil:
		return e.GetProcessExec().GetParent()
	case e.GetProcessExit() != nil:
		return e.GetProcessExit().GetParent()
	}
	return e.GetProcessTracepoint().GetParent()
}

// Type is an event's type.
func Type(e *tetragon.GetEventsResponse) tetragon.EventType {
	field := e.ProtoReflect().WhichOneof(e.ProtoReflect().Descriptor().Oneofs().ByName("event"))
	if field == nil {
		return tetragon.EventType_UNDEF
	}
	// The types have the numbers of the fields.
	return tetragon.EventType(field.Number())
}

func eventSet(f *tetragon.Filter) (predicate, error) {
	return func(e *tetragon.GetEventsResponse) bool { return slices.Contains(f.GetEventSet(), Type(e)) }, nil
}

func pids(f *tetragon.Filter) (predicate, error) {
	return func(e *tetragon.GetEventsResponse) bool {
		p := process(e)
		return p != nil && slices.Contains(f.GetPid(), p.GetPid().GetValue())
	}, nil
}

// namespaces: the empty name is a process that is in no pod.
func namespaces(f *tetragon.Filter) (predicate, error) {
	return func(e *tetragon.GetEventsResponse) bool {
		return slices.Contains(f.GetNamespace(), process(e).GetPod().GetNamespace())
	}, nil
}

// containerIDs compares beginnings: process.docker holds 31 characters.
func containerIDs(f *tetragon.Filter) (predicate, error) {
	return func(e *tetragon.GetEventsResponse) bool {
		id := process(e).GetPod().GetContainer().GetId()
		if id == "" {
			id = process(e).GetDocker()
		}
		return id != "" && slices.ContainsFunc(f.GetContainerId(), func(prefix string) bool { return prefix != "" && strings.HasPrefix(id, prefix) })
	}, nil
}

func policyNames(f *tetragon.Filter) (predicate, error) {
	return func(e *tetragon.GetEventsResponse) bool {
		return slices.Contains(f.GetPolicyNames(), e.GetProcessTracepoint().GetPolicyName())
	}, nil
}

// regexField matches one text with any of a field's expressions (RE2).
func regexField(
	of func(*tetragon.Filter) []string, text func(*tetragon.GetEventsResponse) string,
) func(*tetragon.Filter) (predicate, error) {
	return func(f *tetragon.Filter) (predicate, error) {
		var all []*regexp.Regexp
		var errs []error
		for i, expression := range of(f) {
			r, err := regexp.Compile(expression)
			if err != nil {
				errs = append(errs, fmt.Errorf("[%d]: %w", i, err))
				continue
			}
			all = append(all, r)
		}
		return func(e *tetragon.GetEventsResponse) bool {
			s := text(e)
			return slices.ContainsFunc(all, func(r *regexp.Regexp) bool { return r.MatchString(s) })
		}, errors.Join(errs...)
	}
}
