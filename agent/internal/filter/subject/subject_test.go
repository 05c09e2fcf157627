// SPDX-License-Identifier: Apache-2.0

package subject

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// TestEveryType makes an event of each type of the API and fills in what it has:
// a type that is new to the API is not forgotten here.
func TestEveryType(t *testing.T) {
	t.Parallel()
	process, parent, ancestor := &tetragon.Process{Binary: "/a"}, &tetragon.Process{Binary: "/b"}, &tetragon.Process{Binary: "/c"}
	if len(Fields()) != len(tetragon.EventType_name)-1 {
		t.Errorf("%d types of messages, %d of events", len(Fields()), len(tetragon.EventType_name)-1)
	}
	for _, f := range Fields() {
		e := &tetragon.GetEventsResponse{NodeName: "n"}
		m := e.ProtoReflect().Mutable(f).Message()
		fields := m.Descriptor().Fields()
		about := fields.ByName("process") != nil
		if about {
			m.Set(fields.ByName("process"), protoreflect.ValueOf(process.ProtoReflect()))
			m.Set(fields.ByName("parent"), protoreflect.ValueOf(parent.ProtoReflect()))
			m.Mutable(fields.ByName("ancestors")).List().Append(protoreflect.ValueOf(ancestor.ProtoReflect()))
		}
		ofPolicy := fields.ByName("policy_name") != nil
		if ofPolicy {
			m.Set(fields.ByName("policy_name"), protoreflect.ValueOf("p"))
		}
		if Type(e) != tetragon.EventType(f.Number()) || Message(e) != m.Interface() {
			t.Errorf("%s: type %v, message %v", f.Name(), Type(e), Message(e))
		}
		if about && (Process(e) != process || Parent(e) != parent || len(Ancestors(e)) != 1 || Ancestors(e)[0] != ancestor) ||
			!about && (Process(e) != nil || Parent(e) != nil || Ancestors(e) != nil) {
			t.Errorf("%s: is about %v, %v, %v", f.Name(), Process(e), Parent(e), Ancestors(e))
		}
		if name, ok := Policy(e); ok != ofPolicy || ok && name != "p" {
			t.Errorf("%s: policy %q, %v", f.Name(), name, ok)
		}
	}
}

func TestNoType(t *testing.T) {
	t.Parallel()
	for _, e := range []*tetragon.GetEventsResponse{nil, {}, {Event: &tetragon.GetEventsResponse_ProcessLsm{}}} {
		if Process(e) != nil || Parent(e) != nil || Ancestors(e) != nil {
			t.Errorf("%v is about a process", e)
		}
	}
	if Type(nil) != tetragon.EventType_UNDEF || Message(nil) != nil {
		t.Error("no event has a type")
	}
}

func TestWith(t *testing.T) {
	t.Parallel()
	e := &tetragon.GetEventsResponse{NodeName: "n", Event: &tetragon.GetEventsResponse_ProcessExit{ProcessExit: &tetragon.ProcessExit{
		Process: &tetragon.Process{Binary: "/a"}, Parent: &tetragon.Process{Binary: "/b"}, Signal: "SIGKILL",
		Ancestors: []*tetragon.Process{{Binary: "/c"}, {Binary: "/d"}},
	}}}
	before := proto.Clone(e)
	got := With(e, &tetragon.Process{Binary: "/x"}, nil, nil)
	if !proto.Equal(e, before) {
		t.Errorf("the event is now %v", e)
	}
	if got.GetNodeName() != "n" || got.GetProcessExit().GetSignal() != "SIGKILL" || Process(got).GetBinary() != "/x" ||
		Parent(got) != Parent(e) || len(Ancestors(got)) != 2 || Ancestors(got)[1] != Ancestors(e)[1] {
		t.Errorf("another process: %v", got)
	}
	got = With(e, nil, &tetragon.Process{Binary: "/y"}, []*tetragon.Process{{Binary: "/z"}})
	if !proto.Equal(e, before) {
		t.Errorf("the event is now %v", e)
	}
	if Process(got) != Process(e) || Parent(got).GetBinary() != "/y" || len(Ancestors(got)) != 1 || Ancestors(got)[0].GetBinary() != "/z" {
		t.Errorf("others: %v", got)
	}
}

func TestShallowSharesAndKeepsAll(t *testing.T) {
	t.Parallel()
	p := &tetragon.Process{Binary: "/a", Pod: &tetragon.Pod{Name: "p"}}
	p.ProtoReflect().SetUnknown([]byte{0xf8, 0x7f, 1})
	got := Shallow(p)
	if got == p || got.Pod != p.Pod || !proto.Equal(got, p) {
		t.Errorf("%v of %v", got, p)
	}
	held := &tetragon.KprobeArgument{Label: "l", Arg: &tetragon.KprobeArgument_StringArg{StringArg: "a"}}
	copied := Shallow(held)
	Set(copied.ProtoReflect(), copied.ProtoReflect().Descriptor().Fields().ByName("string_arg"), protoreflect.ValueOf("b"))
	if copied.GetStringArg() != "b" || held.GetStringArg() != "a" {
		t.Errorf("set %q in the copy of %q", copied.GetStringArg(), held.GetStringArg())
	}
}
