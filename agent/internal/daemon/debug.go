// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

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

// Dump is server.Processes.
func (e *events) Dump() ([]server.ProcessEntry, error) {
	describe, err := e.describe()
	if err != nil {
		return nil, err
	}
	all := e.processes.Dump()
	entries := make([]server.ProcessEntry, 0, len(all))
	for _, p := range all {
		refs := p.Uses.Refs()
		entries = append(entries, server.ProcessEntry{
			Process: describe.Describe(p.Process, refs), Color: string(p.Color), Refcnt: refs, RefcntOps: p.Uses.Ops(), Running: p.Running,
		})
	}
	return entries, nil
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
