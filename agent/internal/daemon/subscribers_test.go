// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/boltseal/boltseal/agent/internal/filter"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func execOf(p *tetragon.Process) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{NodeName: "n", Event: &tetragon.GetEventsResponse_ProcessExec{
		ProcessExec: &tetragon.ProcessExec{Process: p},
	}}
}

var errEnough = errors.New("enough")

// TestSubscriberGetsWhatItMay publishes two events to a subscriber that asked for one of them
// and for two of its fields, of which a part is to be hidden.
func TestSubscriberGetsWhatItMay(t *testing.T) {
	t.Parallel()
	e := &events{queue: 8}
	defer e.hub.Close()
	redactions, err := compileRedactions(`{"redact": ["-p (\\S+)"]}`)
	if err != nil {
		t.Fatal(err)
	}
	sink := redacted{&e.hub, redactions}
	if sink.Active() {
		t.Error("somebody is subscribed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	shared := execOf(&tetragon.Process{Binary: "/bin/b", Arguments: "-p secret", Cwd: "/"})
	var got *tetragon.GetEventsResponse
	err = e.Stream(ctx, &tetragon.GetEventsRequest{
		// A subscriber cannot look for what it does not get.
		AllowList:    []*tetragon.Filter{{BinaryRegex: []string{"b$"}, ArgumentsRegex: []string{`^-p \*{5}$`}}},
		FieldFilters: []*tetragon.FieldFilter{{Fields: &fieldmaskpb.FieldMask{Paths: []string{"process.binary", "process.arguments"}}}},
	}, func() error {
		sink.Publish(execOf(&tetragon.Process{Binary: "/bin/a", Arguments: "-p secret"}))
		sink.Publish(shared)
		return nil
	}, func(next *tetragon.GetEventsResponse) error {
		got = next
		return errEnough
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("stream ends with %v", err)
	}
	p := got.GetProcessExec().GetProcess()
	if got.GetNodeName() != "n" || p.GetBinary() != "/bin/b" || p.GetArguments() != "-p *****" || p.GetCwd() != "" {
		t.Errorf("got %v", got)
	}
	if of := shared.GetProcessExec().GetProcess(); of.GetArguments() != "-p secret" || of.GetCwd() != "/" {
		t.Errorf("the shared event is %v", shared)
	}
}

func TestFaultyRedactions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{}":                          "redaction-filters: invalid redaction: [0].redact: ",
		"{\"redact\": [\"(a)\"]}\n{x": "redaction-filters: line 2: ",
		`{"redact": ["a"]}`:           "redaction-filters: invalid redaction: [0].redact[0]: has no group",
	} {
		if r, err := compileRedactions(text); r != nil || err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := compileRedactions(""); err != nil {
		t.Error(err)
	}
}

// TestLineageOfTheCache asks for the descendants of a process of which the event knows nothing.
func TestLineageOfTheCache(t *testing.T) {
	t.Parallel()
	cache := process.New(process.Options{Node: "n", Size: 16})
	key := func(n uint32) process.Key { return process.Key{Tgid: n, Start: uint64(n) * 1_000_000_000} }
	cache.Load([]process.Info{
		{Key: key(1), Binary: "/sbin/init"}, {Key: key(2), Parent: key(1), Binary: "/bin/sh"}, {Key: key(3), Parent: key(2), Binary: "/bin/cat"},
	})
	cat, ok := cache.Get(key(3))
	if !ok {
		t.Fatal("the process is not in the cache")
	}
	e := execOf(&tetragon.Process{ExecId: cat.ExecID, ParentExecId: cat.ParentExecID})
	for want, list := range map[bool][]*tetragon.Filter{
		true:  {{PidSet: []uint32{1}}, {PidSet: []uint32{2}}, {AncestorBinaryRegex: []string{"^/sbin/init$"}}},
		false: {{PidSet: []uint32{4}}, {AncestorBinaryRegex: []string{"^/bin/sh$"}}},
	} {
		for _, f := range list {
			c, err := filter.Compiler{Lineage: lineage{cache}}.Compile([]*tetragon.Filter{f}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.Passes(e) != want {
				t.Errorf("%v holds: %v", f, !want)
			}
		}
	}
}
