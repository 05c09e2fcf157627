// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"
	"time"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/enrich"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// messages makes the messages of a judge's events, and keeps the last.
type messages struct {
	*judges
	last *tetragon.GetEventsResponse
}

func (m *messages) Active() bool                           { return true }
func (m *messages) Publish(of *tetragon.GetEventsResponse) { m.last = of }

// BySlot and ByCgroup find no container: the test is in none.
func (*messages) BySlot(uint32) (*container.Container, bool)   { return nil, false }
func (*messages) ByCgroup(uint64) (*container.Container, bool) { return nil, false }

// Resolve is what the engine knows of a rule, as far as arguments go.
func (m *messages) Resolve(site, version uint32, bit int) (enrich.Rule, bool) {
	of, ok := m.Engine.Resolve(site, version, bit)
	if !ok {
		return enrich.Rule{}, false
	}
	rule := enrich.Rule{Section: of.Hook.Section, Data: of.Hook.Data}
	for i, typ := range of.Hook.Types {
		rule.Args = append(rule.Args, enrich.Arg{Type: typ, Reg: of.Dimensions[i], String: of.Strings[i]})
	}
	return rule, true
}

// fields are the fields of the message of the last run in which its arguments are,
// empty for those that are in none.
func (j *judges) fields(t *testing.T) (fields []string) {
	t.Helper()
	m := &messages{judges: j}
	e, err := enrich.New(enrich.Options{
		Node: "n", Processes: process.New(process.Options{}), Containers: m, Rules: m, Sink: m,
		BootTime: func() (time.Time, error) { return time.Time{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	j.ring.SetDeadline(time.Now())
	record, err := j.ring.Read()
	if err != nil {
		t.Fatal(err)
	}
	of, err := event.Decode(record.RawSample)
	if err != nil {
		t.Fatal(err)
	}
	e.Handle(of)
	if m.last == nil {
		t.Fatal("no message")
	}
	for _, arg := range m.last.GetProcessTracepoint().GetArgs() {
		field := ""
		r := arg.ProtoReflect()
		if set := r.WhichOneof(r.Descriptor().Oneofs().ByName("arg")); set != nil {
			field = string(set.Name())
		}
		fields = append(fields, field)
	}
	return fields
}
