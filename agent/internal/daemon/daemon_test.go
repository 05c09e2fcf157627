// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func spooled(t *testing.T, dir, name, id string) {
	t.Helper()
	text, err := proto.Marshal(&tetragon.RuntimeHookRequest{Event: &tetragon.RuntimeHookRequest_CreateContainer{
		CreateContainer: &tetragon.CreateContainer{ContainerID: id, InitPid: 1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name), text)
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReplaySpool(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	spooled(t, dir, "id-a.pb", "a")
	spooled(t, dir, "id-gone.pb", "gone")
	spooled(t, dir, "id-full.pb", "full")
	write(t, filepath.Join(dir, "id-bad.pb"), []byte{0xff})
	write(t, filepath.Join(dir, ".new"), nil)
	write(t, filepath.Join(dir, ".old"), nil)
	if err := os.Chtimes(filepath.Join(dir, ".old"), time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	var late []string
	var log strings.Builder
	s := newSpool(dir, func(a control.Admission) error {
		if !a.Container.Late {
			t.Errorf("container %s is not late", a.Container.ID)
		}
		switch late = append(late, a.Container.ID); a.Container.ID {
		case "gone":
			return fmt.Errorf("%w request: initPid", control.ErrInvalid)
		case "full":
			return errors.New("no room")
		}
		return nil
	}, slog.New(slog.NewTextHandler(&log, nil)))
	if err := s.replay(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(late)
	if strings.Join(late, " ") != "a full gone" {
		t.Errorf("took in %v", late)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	// What could not be sealed for lack of room is tried again, what cannot be
	// read is left for somebody to look at.
	if want := ".new id-bad.pb id-full.pb"; strings.Join(left, " ") != want {
		t.Errorf("left %v, want %s", left, want)
	}
	if err := s.replay(); err != nil || !slices.Equal(late, []string{"a", "full", "gone", "full"}) {
		t.Errorf("again: %v, took in %v", err, late)
	}
	for _, file := range []string{"id-bad.pb", "id-full.pb"} {
		if strings.Count(log.String(), file) != 1 {
			t.Errorf("said other than once about %s: %s", file, log.String())
		}
	}
	if err := newSpool(filepath.Join(dir, "none"), nil, nil).replay(); err != nil {
		t.Errorf("no spool: %v", err)
	}
}

// taken is the policies of files that were taken in.
type taken map[string]string

func (t taken) AddFilePolicy(file string, p *policy.Policy, _ string) error {
	if p.Name == "refused" {
		return errors.New("kernel says no")
	}
	t[p.Key()] = filepath.Base(file)
	return nil
}

func (t taken) DeleteFilePolicy(key string) error {
	delete(t, key)
	return nil
}

func TestFixedPolicies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, policy string) string {
		path := filepath.Join(dir, name)
		write(t, path, []byte("apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: "+policy+"}\n"+
			"spec: {tracepoints: [{subsystem: s, event: e}]}\n"))
		return path
	}
	in := taken{}
	f := &fixed{Policies: in, owners: map[string]string{}}
	err := f.load([]string{file("a", "p"), file("b", "q"), file("c", "p"), file("d", "refused"), file("e", "[]"), "/none"})
	for _, want := range []string{
		"/c: policy p is that of file " + filepath.Join(dir, "a"), "/d: kernel says no", "/e: line 3: metadata.name", "/none: open",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("load: %v, want %q in it", err, want)
		}
	}
	if len(in) != 2 || in["p"] != "a" || in["q"] != "b" {
		t.Errorf("taken in: %v", in)
	}
	// The directory does not take them over.
	if err := f.AddFilePolicy("/dir/x.yaml", &policy.Policy{Name: "p"}, ""); err == nil || !strings.Contains(err.Error(), "is that of file") {
		t.Errorf("take over: %v", err)
	}
}

func TestCompileRequestRefusesWhatItDoesNotDo(t *testing.T) {
	t.Parallel()
	e := &events{}
	for name, r := range map[string]*tetragon.GetEventsRequest{
		"aggregation_options.channel_buffer_size": {AggregationOptions: &tetragon.AggregationOptions{ChannelBufferSize: 1 << 40}},
		"field_filters": {FieldFilters: []*tetragon.FieldFilter{{}}},
		"binary_regex":  {AllowList: []*tetragon.Filter{{BinaryRegex: []string{"("}}}},
	} {
		if _, err := e.compileRequest(r); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	newer := &tetragon.GetEventsRequest{}
	newer.ProtoReflect().SetUnknown([]byte{0xf8, 0x07, 0x01})
	if _, err := e.compileRequest(newer); err == nil {
		t.Error("a field of a newer client is passed over")
	}
	if o, err := e.compileRequest(&tetragon.GetEventsRequest{}); err != nil || !o.View.Passes(&tetragon.GetEventsResponse{}) || o.Aggregation != nil {
		t.Errorf("empty request: %v, %v", o, err)
	}
	o, err := e.compileRequest(&tetragon.GetEventsRequest{AggregationOptions: &tetragon.AggregationOptions{ChannelBufferSize: 9}})
	if err != nil || o.Aggregation == nil || o.Aggregation.Buffer != 9 {
		t.Errorf("aggregation: %v, %v", o, err)
	}
}
