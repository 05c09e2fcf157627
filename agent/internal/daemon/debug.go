// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/agent/internal/server"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Test is server.Events: an event that nothing happened for.
func (e *events) Test(t *tetragon.Test) {
	e.hub.Publish(&tetragon.GetEventsResponse{
		NodeName: e.hub.Origin.Node, ClusterName: e.hub.Origin.Cluster, NodeLabels: e.hub.Origin.Labels,
		Time: timestamppb.Now(), Event: &tetragon.GetEventsResponse_Test{Test: t},
	})
}

// The colors of entries of the process cache.
const (
	// colorInUse: the process runs, or a child of it that the cache knows does or did.
	colorInUse = "inUse"
	// colorDeletePending: nobody needs the entry; it goes when its grace is over.
	colorDeletePending = "deletePending"
)

// Dump is server.Processes. An entry is held by its process as long as that runs it,
// and by each child that is in the cache too.
func (e *events) Dump() ([]server.ProcessEntry, error) {
	describe, err := e.describe()
	if err != nil {
		return nil, err
	}
	all := e.processes.List()
	newest, children := map[uint32]*process.Process{}, map[string]int32{}
	for _, p := range all {
		if known := newest[p.Key.Tgid]; known == nil || known.Since < p.Since {
			newest[p.Key.Tgid] = p
		}
		children[p.ParentExecID]++
	}
	entries := make([]server.ProcessEntry, 0, len(all))
	for _, p := range all {
		held := children[p.ExecID]
		out := server.ProcessEntry{
			Process: describe.Describe(p), Color: colorDeletePending,
			RefcntOps: map[string]int32{"process++": 1, "parent++": held},
			Running:   newest[p.Key.Tgid] == p && exists(p.Key.Tgid),
		}
		if out.Running {
			held++
		} else {
			out.RefcntOps["process--"] = 1
		}
		if out.Refcnt = uint32(held); held > 0 {
			out.Color = colorInUse
		}
		entries = append(entries, out)
	}
	return entries, nil
}

// exists tells whether there is a process, of which the kernel is one.
func exists(tgid uint32) bool {
	return tgid == 0 || !errors.Is(unix.Kill(int(tgid), 0), unix.ESRCH)
}

// serveProfiles answers at an address with profiles of the agent until the context
// ends.
func serveProfiles(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	// A profile takes as long as the client asks for.
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
