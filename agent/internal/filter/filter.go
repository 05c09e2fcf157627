// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
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

// Compile compiles the lists of a request. The error tells of all faults, each
// with the path of its field.
func Compile(allow, deny []*tetragon.Filter) (*Filter, error) {
	f := &Filter{}
	var errs []error
	for _, list := range [...]struct {
		name    string
		objects []*tetragon.Filter
		into    *[]conjunction
	}{{"allow_list", allow, &f.allow}, {"deny_list", deny, &f.deny}} {
		for i, object := range list.objects {
			c, faults := compile(object)
			for _, fault := range faults {
				errs = append(errs, fmt.Errorf("%w: %s[%d].%w", ErrInvalid, list.name, i, fault))
			}
			*list.into = append(*list.into, c)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return f, nil
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

// field compiles one field of a filter object, which is set.
type field func(*tetragon.Filter) (predicate, []error)

// supported is the fields that are read, by name.
func supported() map[protoreflect.Name]field {
	return map[protoreflect.Name]field{
		"event_set":              eventSet,
		"pid":                    pids,
		"namespace":              namespaces,
		"container_id":           containerIDs,
		"policy_names":           policyNames,
		"binary_regex":           regexes((*tetragon.Filter).GetBinaryRegex, process, (*tetragon.Process).GetBinary),
		"arguments_regex":        regexes((*tetragon.Filter).GetArgumentsRegex, process, (*tetragon.Process).GetArguments),
		"pod_regex":              regexes((*tetragon.Filter).GetPodRegex, process, podName),
		"namespace_regex":        regexes((*tetragon.Filter).GetNamespaceRegex, process, namespace),
		"container_name_regex":   regexes((*tetragon.Filter).GetContainerNameRegex, process, containerName),
		"parent_binary_regex":    regexes((*tetragon.Filter).GetParentBinaryRegex, parent, (*tetragon.Process).GetBinary),
		"parent_arguments_regex": regexes((*tetragon.Filter).GetParentArgumentsRegex, parent, (*tetragon.Process).GetArguments),
	}
}

func compile(object *tetragon.Filter) (c conjunction, faults []error) {
	known, m := supported(), object.ProtoReflect()
	if len(m.GetUnknown()) > 0 {
		number, _, _ := protowire.ConsumeTag(m.GetUnknown())
		faults = append(faults, fmt.Errorf("field %d: not known to this version", number))
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if !m.Has(fields.Get(i)) {
			continue
		}
		name := fields.Get(i).Name()
		of := known[name]
		if of == nil {
			faults = append(faults, fmt.Errorf("%s: not supported by this version", name))
			continue
		}
		holds, errs := of(object)
		for _, err := range errs {
			faults = append(faults, fmt.Errorf("%s%w", name, err))
		}
		c = append(c, holds)
	}
	return c, faults
}
