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

func TestPolicyFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"b.yaml", "a.yml", "notes.txt"} {
		write(t, filepath.Join(dir, name), []byte(name))
	}
	files, err := policyFiles([]string{"/first"}, dir)
	want := []string{"/first", filepath.Join(dir, "a.yml"), filepath.Join(dir, "b.yaml")}
	if err != nil || !slices.Equal(files, want) {
		t.Errorf("files %v, %v; want %v", files, err, want)
	}
	if files, err := policyFiles(nil, filepath.Join(dir, "none")); err != nil || len(files) != 0 {
		t.Errorf("no directory: %v, %v", files, err)
	}
	var added []string
	err = loadPolicies(want[1:], func(yaml []byte) error {
		if added = append(added, string(yaml)); string(yaml) == "a.yml" {
			return errors.New("bad policy")
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "a.yml: bad policy") || len(added) != 2 {
		t.Errorf("load: %v, added %v", err, added)
	}
	if err := loadPolicies([]string{filepath.Join(dir, "none.yaml")}, nil); err == nil {
		t.Error("a policy file that is not there is passed over")
	}
}

func TestCompileRequestRefusesWhatItDoesNotDo(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*tetragon.GetEventsRequest{
		"aggregation_options": {AggregationOptions: &tetragon.AggregationOptions{}},
		"field_filters":       {FieldFilters: []*tetragon.FieldFilter{{}}},
		"binary_regex":        {AllowList: []*tetragon.Filter{{BinaryRegex: []string{"("}}}},
	} {
		if _, err := compileRequest(r); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	newer := &tetragon.GetEventsRequest{}
	newer.ProtoReflect().SetUnknown([]byte{0xf8, 0x07, 0x01})
	if _, err := compileRequest(newer); err == nil {
		t.Error("a field of a newer client is passed over")
	}
	if passes, err := compileRequest(&tetragon.GetEventsRequest{}); err != nil || !passes(&tetragon.GetEventsResponse{}) {
		t.Errorf("empty request: %v", err)
	}
}
