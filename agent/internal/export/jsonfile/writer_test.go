// SPDX-License-Identifier: Apache-2.0

package jsonfile

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/boltseal/boltseal/agent/internal/export"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func named(name string) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{NodeName: name}
}

// contents is the names of events of a file, "-n" for n that are missing.
func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		e := &tetragon.GetEventsResponse{}
		if err := protojson.Unmarshal([]byte(line), e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if info := e.GetRateLimitInfo(); info != nil {
			all = append(all, strings.Repeat("-", int(info.NumberOfDroppedProcessEvents))+e.NodeName)
		} else {
			all = append(all, e.NodeName)
		}
	}
	return strings.Join(all, " ")
}

// TestFailuresAreToldOnce: in the log, in the file and by the numbers.
func TestFailuresAreToldOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := options(filepath.Join(dir, "sub", "e"))
	f := open(t, o)
	var log bytes.Buffer
	w := NewWriter(f, export.Origin{Node: "node"}, slog.New(slog.NewTextHandler(&log, nil)))
	put := func(names ...string) {
		for _, name := range names {
			if err := w.Write(named(name)); err != nil {
				t.Error(err)
			}
		}
	}
	put("1")
	if err := os.Rename(filepath.Dir(o.Path), filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	put("2", "3")
	if err := w.Write(export.Origin{}.Missing(2)); err != nil { // itself not written: what it tells is
		t.Error(err)
	}
	if err := os.Mkdir(filepath.Dir(o.Path), 0o700); err != nil {
		t.Fatal(err)
	}
	put("4", "\xff", "\xff", "5")
	if got := contents(t, o.Path); got != "----node 4 -node -node 5" {
		t.Errorf("the file has %q", got)
	}
	if got := contents(t, filepath.Join(dir, "gone", "e")); got != "1" {
		t.Errorf("the file before has %q", got)
	}
	if n := strings.Count(log.String(), "not written"); n != 1 || strings.Count(log.String(), "written again") != 1 {
		t.Errorf("log:\n%s", log.String())
	}
	if s := w.Stats(); s.Written != 3 || s.Failed != 5 || s.Bytes == 0 {
		t.Errorf("%+v", s)
	}
	put("\xff")
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if got := contents(t, o.Path); got != "----node 4 -node -node 5 -node" {
		t.Errorf("at the end the file has %q", got)
	}
}

func BenchmarkWrite(b *testing.B) {
	o := options(filepath.Join(b.TempDir(), "e"))
	o.Rotation.MaxBytes, o.Rotation.MaxBackups = 100<<20, 1
	f, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	w, e := NewWriter(f, export.Origin{}, o.Log), exec()
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Write(e); err != nil {
			b.Fatal(err)
		}
	}
	if w.Stats().Failed > 0 || w.Close() != nil {
		b.Fatal("not written")
	}
}
