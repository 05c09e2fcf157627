// SPDX-License-Identifier: Apache-2.0

// Package subject tells what an event is about: its type, the process, the
// parent and ancestors, the policy. It is pure.
package subject

import (
	"reflect"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Type is an event's type, UNDEF for an event that has none.
func Type(e *tetragon.GetEventsResponse) tetragon.EventType {
	switch e.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessExec:
		return tetragon.EventType_PROCESS_EXEC
	case *tetragon.GetEventsResponse_ProcessExit:
		return tetragon.EventType_PROCESS_EXIT
	case *tetragon.GetEventsResponse_ProcessKprobe:
		return tetragon.EventType_PROCESS_KPROBE
	case *tetragon.GetEventsResponse_ProcessTracepoint:
		return tetragon.EventType_PROCESS_TRACEPOINT
	case *tetragon.GetEventsResponse_ProcessLoader:
		return tetragon.EventType_PROCESS_LOADER
	case *tetragon.GetEventsResponse_ProcessUprobe:
		return tetragon.EventType_PROCESS_UPROBE
	case *tetragon.GetEventsResponse_ProcessThrottle:
		return tetragon.EventType_PROCESS_THROTTLE
	case *tetragon.GetEventsResponse_ProcessLsm:
		return tetragon.EventType_PROCESS_LSM
	case *tetragon.GetEventsResponse_ProcessUsdt:
		return tetragon.EventType_PROCESS_USDT
	case *tetragon.GetEventsResponse_Test:
		return tetragon.EventType_TEST
	case *tetragon.GetEventsResponse_RateLimitInfo:
		return tetragon.EventType_RATE_LIMIT_INFO
	}
	return tetragon.EventType_UNDEF
}

// Message is the message of an event's type, such as its ProcessExec; nil for an
// event that has none.
func Message(e *tetragon.GetEventsResponse) proto.Message {
	switch of := e.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessExec:
		return of.ProcessExec
	case *tetragon.GetEventsResponse_ProcessExit:
		return of.ProcessExit
	case *tetragon.GetEventsResponse_ProcessKprobe:
		return of.ProcessKprobe
	case *tetragon.GetEventsResponse_ProcessTracepoint:
		return of.ProcessTracepoint
	case *tetragon.GetEventsResponse_ProcessLoader:
		return of.ProcessLoader
	case *tetragon.GetEventsResponse_ProcessUprobe:
		return of.ProcessUprobe
	case *tetragon.GetEventsResponse_ProcessThrottle:
		return of.ProcessThrottle
	case *tetragon.GetEventsResponse_ProcessLsm:
		return of.ProcessLsm
	case *tetragon.GetEventsResponse_ProcessUsdt:
		return of.ProcessUsdt
	case *tetragon.GetEventsResponse_Test:
		return of.Test
	case *tetragon.GetEventsResponse_RateLimitInfo:
		return of.RateLimitInfo
	}
	return nil
}

// Fields are the fields of an event's message, one for each type, whose number the
// type is.
func Fields() []protoreflect.FieldDescriptor {
	of := (&tetragon.GetEventsResponse{}).ProtoReflect().Descriptor().Oneofs().ByName("event").Fields()
	all := make([]protoreflect.FieldDescriptor, of.Len())
	for i := range all {
		all[i] = of.Get(i)
	}
	return all
}

// ofProcess is the message of an event that is about a process.
type ofProcess interface {
	GetProcess() *tetragon.Process
	GetParent() *tetragon.Process
	GetAncestors() []*tetragon.Process
}

// Process is the process that an event is about; nil when it is about none.
func Process(e *tetragon.GetEventsResponse) *tetragon.Process {
	if of, ok := Message(e).(ofProcess); ok {
		return of.GetProcess()
	}
	return nil
}

// Parent is the parent of that process; nil when it is not known.
func Parent(e *tetragon.GetEventsResponse) *tetragon.Process {
	if of, ok := Message(e).(ofProcess); ok {
		return of.GetParent()
	}
	return nil
}

// Ancestors are those of that process that the event has, from the parent's parent
// on.
func Ancestors(e *tetragon.GetEventsResponse) []*tetragon.Process {
	if of, ok := Message(e).(ofProcess); ok {
		return of.GetAncestors()
	}
	return nil
}

// Policy is the name of the policy whose rule made an event; false for events of
// no policy.
func Policy(e *tetragon.GetEventsResponse) (name string, ok bool) {
	of, ok := Message(e).(interface{ GetPolicyName() string })
	if !ok {
		return "", false
	}
	return of.GetPolicyName(), true
}

// Shallow is a copy of a message that shares all that it refers to, also what holds the
// member of a oneof: see Set. It takes a fraction of the time of going by descriptors.
func Shallow[M proto.Message](m M) M {
	from := reflect.ValueOf(m).Elem()
	to := reflect.New(from.Type())
	for i := range from.NumField() {
		if f := to.Elem().Field(i); f.CanSet() { // the others are the library's
			f.Set(from.Field(i))
		}
	}
	copied := to.Interface().(M)
	if unknown := m.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		copied.ProtoReflect().SetUnknown(unknown)
	}
	return copied
}

// Set sets a field of a shallow copy, and not that of the original.
func Set(m protoreflect.Message, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	m.Clear(f) // or the value would go into the holder of the oneof, which is shared
	m.Set(f, v)
}

// With is a copy of an event with other processes, which shares the rest. The event
// is about a process. A nil parent or no ancestors leave what there is.
func With(e *tetragon.GetEventsResponse, process, parent *tetragon.Process, ancestors []*tetragon.Process) *tetragon.GetEventsResponse {
	out := Shallow(e)
	m := Shallow(Message(e)).ProtoReflect()
	fields := m.Descriptor().Fields()
	if process != nil {
		Set(m, fields.ByName("process"), protoreflect.ValueOfMessage(process.ProtoReflect()))
	}
	if parent != nil {
		Set(m, fields.ByName("parent"), protoreflect.ValueOfMessage(parent.ProtoReflect()))
	}
	if len(ancestors) > 0 {
		list := m.NewField(fields.ByName("ancestors"))
		for _, a := range ancestors {
			list.List().Append(protoreflect.ValueOfMessage(a.ProtoReflect()))
		}
		Set(m, fields.ByName("ancestors"), list)
	}
	of := out.ProtoReflect()
	Set(of, of.Descriptor().Fields().ByNumber(protoreflect.FieldNumber(Type(e))), protoreflect.ValueOfMessage(m))
	return out
}
