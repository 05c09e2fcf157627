// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/boltseal/boltseal/agent/internal/config"
	"github.com/boltseal/boltseal/agent/internal/export"
	"github.com/boltseal/boltseal/agent/internal/filter"
	"github.com/boltseal/boltseal/agent/internal/server"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// exportTo is the configuration of an export with the defaults of a file's.
func exportTo(file string) config.Export {
	return config.Export{Name: filepath.Base(file), File: file, MaxSizeMB: 10, MaxBackups: 5, Permissions: "600", RateLimit: -1}
}

// executes is an event of a program.
func executes(binary string) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessExec{
		ProcessExec: &tetragon.ProcessExec{Process: &tetragon.Process{Binary: binary}},
	}}
}

// exported is the binaries of a file of events, "-n" for n that are missing, with
// "×n" for n that are equal.
func exported(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		e := &tetragon.GetEventsResponse{}
		if err := protojson.Unmarshal([]byte(line), e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		name := e.GetProcessExec().GetProcess().GetBinary()
		if n := e.GetRateLimitInfo().GetNumberOfDroppedProcessEvents(); n > 0 {
			name = fmt.Sprint("-", n)
		}
		if n := e.GetAggregationInfo().GetCount(); n > 0 {
			name += fmt.Sprint("×", n)
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}

// runExports runs exports; what it returns waits for their end.
func runExports(ctx context.Context, t *testing.T, x *exports) (wait func()) {
	t.Helper()
	x.started = true
	ended := make(chan error)
	go func() { ended <- x.run(ctx) }()
	return func() {
		t.Helper()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestExportsWriteWhatWasPublishedBeforeTheStop: each by its own settings.
func TestExportsWriteWhatWasPublishedBeforeTheStop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var hub export.Hub
	all, allowed, denied, counted, none := exportTo(dir+"/all"), exportTo(dir+"/allowed"), exportTo(dir+"/denied"), exportTo(dir+"/counted"), exportTo(dir+"/none")
	allowed.AllowList = "{\"binary_regex\": [\"^/bin/a$\"]}\n{\"binary_regex\": [\"b$\"]}"
	denied.DenyList = `{"binary_regex": ["^/bin/a$"]}`
	denied.RateLimit = 2
	counted.Aggregation = &config.ExportAggregation{WindowSize: time.Hour, BufferSize: 10}
	none.RateLimit = 0
	cut := exportTo(dir + "/cut")
	cut.FieldFilters = `{"event_set": ["PROCESS_EXEC"], "fields": "process.pid"}`
	x, err := openExports(&hub, filter.Compiler{}, []config.Export{all, allowed, denied, counted, none, cut}, 100, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, binary := range []string{"/bin/a", "/bin/b", "/bin/c", "/bin/a", "/bin/d", "/bin/c"} {
		hub.Publish(executes(binary))
	}
	cancel() // before anything was written
	wait := runExports(ctx, t, x)
	hub.Close()
	wait()
	for file, want := range map[string]string{
		all.File: "/bin/a /bin/b /bin/c /bin/a /bin/d /bin/c", allowed.File: "/bin/a /bin/b /bin/a",
		denied.File: "/bin/b /bin/c -2", counted.File: "/bin/a×2 /bin/b×1 /bin/c×2 /bin/d×1", none.File: "-6",
		cut.File: "     ", // six events, without binaries
	} {
		if got := exported(t, file); got != want {
			t.Errorf("%s has %s, want %s", filepath.Base(file), got, want)
		}
	}
	if err := x.close(); err != nil {
		t.Error(err)
	}
}

func TestFaultsOfExportsNameTheKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var hub export.Hub
	c := config.Default()
	c.ExportFilename, c.ExportAllowlist = dir+"/e", "{\"pid\": \"x\"}"
	good, bad, folder := exportTo(dir+"/good"), exportTo(dir+"/bad"), exportTo(dir)
	bad.DenyList = `{"binary_regex": ["("]}`
	bad.FieldFilters = "{\"fields\": \"process\"}\n{\"fields\": \"absent\"}"
	folder.Name = "folder"
	c.Exports = []config.Export{good, bad, folder}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	x, err := openExports(&hub, filter.Compiler{}, c.AllExports(), 100, slog.New(slog.DiscardHandler))
	if x != nil || err == nil {
		t.Fatalf("%v, %v", x, err)
	}
	for _, want := range []string{"export-allowlist: ", "exports[1].deny-list: ", "binary_regex", "exports[1].field-filters: ", "absent", "exports[2].file: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: not about %s", err, want)
		}
	}
	if hub.Active() {
		t.Error("a subscription is left")
	}
}

// TestRotationOfTheFirstExport is changed as a whole or not at all.
func TestRotationOfTheFirstExport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var hub export.Hub
	x, err := openExports(&hub, filter.Compiler{}, []config.Export{exportTo(dir + "/a"), exportTo(dir + "/b")}, 100, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer x.close()
	if err := x.ChangeRotation(func(r *server.EventLogRotation) { r.MaxSizeMB, r.Interval = 3, time.Hour }); err != nil {
		t.Error(err)
	}
	want := server.EventLogRotation{MaxSizeMB: 3, Interval: time.Hour, MaxBackups: 5}
	err = x.ChangeRotation(func(r *server.EventLogRotation) { r.MaxSizeMB, r.Interval, r.MaxBackups = 0, time.Millisecond, 1 })
	if !errors.Is(err, server.ErrEventLog) || !strings.Contains(err.Error(), "max_size: ") || !strings.Contains(err.Error(), "rotation_interval: ") {
		t.Error(err)
	}
	if got, err := x.Rotation(); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if r := x.all[1].file.Rotation(); r.MaxBytes != 10*megabyte {
		t.Errorf("the other export: %+v", r)
	}
	none := &exports{}
	if err := none.ChangeRotation(nil); !errors.Is(err, server.ErrNoEventLog) {
		t.Error(err)
	}
}

// TestHangupReopensExports as logrotate asks for it.
func TestHangupReopensExports(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var hub export.Hub
	e := exportTo(dir + "/e")
	x, err := openExports(&hub, filter.Compiler{}, []config.Export{e}, 100, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	wait := runExports(t.Context(), t, x)
	hub.Publish(executes("/bin/a"))
	moved := dir + "/moved"
	if err := os.Rename(e.File, moved); err != nil {
		t.Fatal(err)
	}
	x.reopen()
	if _, err := os.Stat(e.File); err != nil {
		t.Error(err)
	}
	hub.Close()
	wait()
	if got := exported(t, moved) + exported(t, e.File); got != "/bin/a" {
		t.Errorf("both files have %s", got)
	}
}

// hangs is a view that never answers.
type hangs chan struct{}

func (h hangs) Passes(*tetragon.GetEventsResponse) bool {
	<-h
	return true
}
func (hangs) Fields(e *tetragon.GetEventsResponse) *tetragon.GetEventsResponse { return e }

// TestStopOfExportsIsBounded: also when events keep coming, or a write hangs.
func TestStopOfExportsIsBounded(t *testing.T) {
	t.Parallel()
	for _, hanging := range []bool{false, true} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			var hub export.Hub
			var log strings.Builder
			x, err := openExports(&hub, filter.Compiler{}, []config.Export{exportTo(dir + "/e")}, 100, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			view := make(hangs)
			if hanging {
				x.all[0].sub, err = hub.Subscribe(context.Background(), export.Options{View: view})
				if err != nil {
					t.Fatal(err)
				}
				hub.Publish(executes("/bin/a"))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			x.write(ctx) // the hub is not closed
			want := time.Hour + drainTime
			if hanging {
				want += drainTime
			}
			synctest.Wait()
			if past := time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); past != want {
				t.Errorf("hanging %v: it took %v, not %v", hanging, past, want)
			}
			if got := strings.Contains(log.String(), "hangs"); got != hanging {
				t.Errorf("hanging %v: the log says %s", hanging, log.String())
			}
			close(view)
			hub.Close()
			synctest.Wait()
		})
	}
}
