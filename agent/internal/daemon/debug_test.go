// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/enrich"
	"github.com/boltseal/boltseal/agent/internal/export"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/agent/internal/server"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// TestProcessDump: who holds an entry, by what the cache was told.
func TestProcessDump(t *testing.T) {
	t.Parallel()
	self := uint32(os.Getpid())
	const gone = 1 << 30 // above any pid
	cache := process.New(process.Options{Node: "n"})
	key := process.Key{Tgid: self, Start: 10}
	cache.Exec(11, process.Info{Key: key, Binary: "/before"})
	cache.Exec(12, process.Info{Key: key, Binary: "/now"})
	cache.Fork(process.Info{Key: process.Key{Tgid: gone, Start: 20}, Parent: key})
	e := &events{processes: cache, describe: func() (*enrich.Enricher, error) {
		return enrich.New(enrich.Options{
			Processes: cache, Containers: container.New(0), BootTime: func() (time.Time, error) { return time.Unix(0, 0), nil },
		})
	}}
	dump, err := e.Dump()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]server.ProcessEntry{}
	for _, d := range dump {
		name := d.Process.GetBinary()
		if d.Process.GetPid().GetValue() == gone {
			name = "child"
		}
		got[name] = d
		if ops := d.RefcntOps; ops["process++"]-ops["process--"]+ops["parent++"]-ops["parent--"] != int32(d.Refcnt) {
			t.Errorf("%s: %d hold it, by its uses %v", name, d.Refcnt, ops)
		}
	}
	for name, want := range map[string]server.ProcessEntry{
		"/before":  {Refcnt: 0, Color: string(process.DeletePending)},
		"/now":     {Refcnt: 2, Color: string(process.InUse), Running: true},
		"child":    {Refcnt: 1, Color: string(process.InUse), Running: true},
		"<kernel>": {Refcnt: 3, Color: string(process.InUse), Running: true},
	} {
		d, ok := got[name]
		if !ok || d.Refcnt != want.Refcnt || d.Color != want.Color || d.Running != want.Running {
			t.Errorf("%s: %+v, want %+v", name, d, want)
		}
	}
	if len(got) != 4 {
		t.Errorf("%d entries: %v", len(got), got)
	}
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "p")
	l, err := server.ListenLocal(t.Context(), "unix://"+socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveProfiles(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	for path, want := range map[string]string{
		"/debug/pprof/": "goroutine", "/debug/pprof/goroutine?debug=1": "serveProfiles", "/debug/pprof/cmdline": "daemon.test",
	} {
		response, err := client.Get("http://agent" + path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(text), want) {
			t.Errorf("%s: %s, %v; want %q in it: %.200s", path, response.Status, err, want, text)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("stopped: %v", err)
	}
}

func TestTestEventReachesSubscribers(t *testing.T) {
	t.Parallel()
	e := &events{}
	e.hub.Origin = export.Origin{Node: "here", Cluster: "there"}
	sub, err := e.hub.Subscribe(t.Context(), export.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	e.Test(&tetragon.Test{Arg0: 5})
	got, err := sub.Next(t.Context())
	if err != nil || got.GetTest().GetArg0() != 5 || got.GetNodeName() != "here" || got.GetClusterName() != "there" || got.GetTime() == nil {
		t.Errorf("%v, %v", got, err)
	}
}
