// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Health is the state of the agent as clients may ask for it: by GetHealth, or by
// grpc.health.v1 for the whole of it, for "liveness" or for one of the API's services.
// All of them are SERVING or NOT_SERVING together. It is safe for concurrent use.
type Health struct {
	grpc *health.Server

	mu     sync.Mutex
	status tetragon.HealthStatusResult
	reason string
}

// healthServices are the names that grpc.health.v1 knows.
func healthServices() []string {
	return []string{"", "liveness", tetragon.FineGuidanceSensors_ServiceDesc.ServiceName, boltseal.Boltseal_ServiceDesc.ServiceName}
}

// NewHealth is the health of an agent that is starting: NOT_SERVING.
func NewHealth() *Health {
	h := &Health{grpc: health.NewServer()}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.set(tetragon.HealthStatusResult_HEALTH_STATUS_STOPPED, "starting: policies are not in force yet")
	return h
}

// Ready says that policies are in force and calls are answered. It changes nothing
// once the agent is stopping or has failed.
func (h *Health) Ready() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reason == stopping || h.status == tetragon.HealthStatusResult_HEALTH_STATUS_ERROR {
		return
	}
	h.set(tetragon.HealthStatusResult_HEALTH_STATUS_RUNNING, "running")
}

const stopping = "stopping"

// Stopping says that the agent is about to end. A failure stays one.
func (h *Health) Stopping() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.status != tetragon.HealthStatusResult_HEALTH_STATUS_ERROR {
		h.set(tetragon.HealthStatusResult_HEALTH_STATUS_STOPPED, stopping)
	}
}

// Fail says that a part that the agent cannot do without has failed. The first
// failure is the one that is told.
func (h *Health) Fail(reason error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.status != tetragon.HealthStatusResult_HEALTH_STATUS_ERROR {
		h.set(tetragon.HealthStatusResult_HEALTH_STATUS_ERROR, reason.Error())
	}
}

// set is called with the lock held.
func (h *Health) set(status tetragon.HealthStatusResult, reason string) {
	h.status, h.reason = status, reason
	serving := healthpb.HealthCheckResponse_NOT_SERVING
	if status == tetragon.HealthStatusResult_HEALTH_STATUS_RUNNING {
		serving = healthpb.HealthCheckResponse_SERVING
	}
	for _, service := range healthServices() {
		h.grpc.SetServingStatus(service, serving)
	}
}

// Serve answers grpc.health.v1, and nothing else, until the context ends.
func (h *Health) Serve(ctx context.Context, l net.Listener) error {
	s := grpc.NewServer(grpc.MaxConcurrentStreams(maxStreams))
	healthpb.RegisterHealthServer(s, h.grpc)
	stop := context.AfterFunc(ctx, s.Stop)
	defer stop()
	if err := s.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// GetHealth tells the health of the agent, which is all of one kind: an event_set
// without it asks for nothing.
func (s *Server) GetHealth(_ context.Context, r *tetragon.GetHealthStatusRequest) (*tetragon.GetHealthStatusResponse, error) {
	response := &tetragon.GetHealthStatusResponse{}
	const kind = tetragon.HealthStatusType_HEALTH_STATUS_TYPE_STATUS
	if set := r.GetEventSet(); len(set) > 0 && !slices.Contains(set, kind) {
		return response, nil
	}
	s.Health.mu.Lock()
	defer s.Health.mu.Unlock()
	response.HealthStatus = []*tetragon.HealthStatus{{Event: kind, Status: s.Health.status, Details: s.Health.reason}}
	return response, nil
}
