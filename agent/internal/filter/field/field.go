// SPDX-License-Identifier: Apache-2.0

// Package field decides which fields of events a subscriber gets. It is pure.
//
// A field filter has paths of fields below an event's message, such as
// process.pid, and the types of events that it is for: those of its event set, all
// with an empty one, all others if that is inverted. Of an event there is kept what
// some INCLUDE of its type names, or everything when there is none; and of that, what
// no EXCLUDE names. So the order does not matter, and no INCLUDE brings back what an
// EXCLUDE hides.
//
// A path that goes through a list is for each of its messages. A path names nothing
// in types where it does not exist; that it exists in none of those that its filter
// is for is an error. What stands beside the event's message, such as node_name and
// time, is always kept.
package field

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/boltseal/boltseal/agent/internal/filter/subject"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// ErrInvalid is wrapped by all errors of Compile.
var ErrInvalid = errors.New("invalid field filter")

// maxDepth is how many names a path can have.
const maxDepth = 32

// Filters are compiled field filters. They are safe for concurrent use.
type Filters struct {
	// masks has no mask for types of which everything is kept.
	masks map[tetragon.EventType]typed
}

// typed is the mask of the message of a type of events, which is in a field of the event.
type typed struct {
	field protoreflect.FieldDescriptor
	mask  mask
}

// Compile compiles the field filters of a request. The error tells of all faults,
// each with the path of its field.
func Compile(list []*tetragon.FieldFilter) (*Filters, error) {
	includes, excludes := map[tetragon.EventType]mask{}, map[tetragon.EventType]mask{}
	var errs []error
	for i, f := range list {
		into := includes
		if f.GetAction() == tetragon.FieldFilterAction_EXCLUDE {
			into = excludes
		}
		for _, fault := range compile(f, into) {
			errs = append(errs, fmt.Errorf("%w: field_filters[%d].%w", ErrInvalid, i, fault))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	f := &Filters{masks: map[tetragon.EventType]typed{}}
	for _, of := range subject.Fields() {
		t := tetragon.EventType(of.Number())
		kept, ok := includes[t]
		if !ok {
			kept = everything()
		}
		if excluded, ok := excludes[t]; ok && len(excluded.some) > 0 {
			kept = kept.without(excluded, of.Message())
		}
		if !kept.all {
			f.masks[t] = typed{of, kept.ready(of.Message())}
		}
	}
	return f, nil
}

// compile adds the masks of one filter to those of the types that it is for.
func compile(f *tetragon.FieldFilter, into map[tetragon.EventType]mask) (errs []error) {
	if unknown := f.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		number, _, _ := protowire.ConsumeTag(unknown)
		errs = append(errs, fmt.Errorf("field %d: not known to this version", number))
	}
	for i, t := range f.GetEventSet() {
		if _, ok := tetragon.EventType_name[int32(t)]; !ok {
			errs = append(errs, fmt.Errorf("event_set[%d]: %d: no such event type", i, t))
		}
	}
	if _, ok := tetragon.FieldFilterAction_name[int32(f.GetAction())]; !ok {
		errs = append(errs, fmt.Errorf("action: %d: no such action", f.GetAction()))
	}
	if len(f.GetFields().GetPaths()) == 0 {
		errs = append(errs, errors.New("fields: there is none"))
	}
	types := typesOf(f)
	if len(types) == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("event_set: is for no event"))
	}
	if len(errs) > 0 {
		return errs
	}
	for _, of := range types {
		t := tetragon.EventType(of.Number())
		into[t] = into[t].union(mask{}) // it is there, even if no path exists for the type
	}
	for i, path := range f.GetFields().GetPaths() {
		if err := add(path, types, into); err != nil {
			errs = append(errs, fmt.Errorf("fields.paths[%d]: %q: %w", i, path, err))
		}
	}
	return errs
}

// typesOf are the types that a filter is for, as fields of the event.
func typesOf(f *tetragon.FieldFilter) []protoreflect.FieldDescriptor {
	set, inverted := f.GetEventSet(), f.GetInvertEventSet().GetValue()
	return slices.DeleteFunc(subject.Fields(), func(of protoreflect.FieldDescriptor) bool {
		return len(set) > 0 && slices.Contains(set, tetragon.EventType(of.Number())) == inverted
	})
}

// add adds a path to the masks of the types for which it exists.
func add(path string, types []protoreflect.FieldDescriptor, into map[tetragon.EventType]mask) error {
	if depth(path) > maxDepth {
		return fmt.Errorf("has more than %d names", maxDepth)
	}
	var fault error
	found := false
	for _, of := range types {
		m, err := parse(path, of.Message())
		if err != nil {
			if fault == nil {
				fault = err
			}
			continue
		}
		found = true
		t := tetragon.EventType(of.Number())
		into[t] = into[t].union(m)
	}
	if found {
		return nil
	}
	return fault
}

func depth(path string) int {
	n := 1
	for _, c := range path {
		if c == '.' {
			n++
		}
	}
	return n
}

// Apply is an event with the fields that are kept: the event itself if these are all,
// else a copy, which shares with it what is kept whole.
func (f *Filters) Apply(e *tetragon.GetEventsResponse) *tetragon.GetEventsResponse {
	of, ok := f.masks[subject.Type(e)]
	if !ok {
		return e
	}
	from := e.ProtoReflect()
	out := subject.Shallow(e)
	subject.Set(out.ProtoReflect(), of.field, protoreflect.ValueOfMessage(of.mask.apply(from.Get(of.field).Message())))
	return out
}
