// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// TestHealthFollowsTheAgent asks in both ways, on the API's socket and on the one
// that is for health alone.
func TestHealthFollowsTheAgent(t *testing.T) {
	needRoot(t)
	const running, stopped, failed = tetragon.HealthStatusResult_HEALTH_STATUS_RUNNING, tetragon.HealthStatusResult_HEALTH_STATUS_STOPPED, tetragon.HealthStatusResult_HEALTH_STATUS_ERROR
	type step struct {
		do     func(*Health)
		status tetragon.HealthStatusResult
		reason string
	}
	ready, stop := (*Health).Ready, (*Health).Stopping
	fail := func(h *Health) { h.Fail(errors.New("ring is gone")) }
	again := func(h *Health) { h.Fail(errors.New("later")) }
	nothing := func(*Health) {}
	for name, steps := range map[string][]step{
		"life":    {{nothing, stopped, "starting: policies are not in force yet"}, {ready, running, "running"}, {stop, stopped, "stopping"}, {ready, stopped, "stopping"}},
		"failure": {{ready, running, "running"}, {fail, failed, "ring is gone"}, {stop, failed, "ring is gone"}, {ready, failed, "ring is gone"}, {again, failed, "ring is gone"}},
	} {
		h := NewHealth()
		conn := serveWith(t, &fake{}, Options{Containers: container.New(0), Health: h})
		conns := []*grpc.ClientConn{conn, aside(t, h, "unix://"+filepath.Join(t.TempDir(), "h")), aside(t, h, "127.0.0.1:0")}
		for _, s := range steps {
			s.do(h)
			got, err := tetragon.NewFineGuidanceSensorsClient(conn).GetHealth(t.Context(), &tetragon.GetHealthStatusRequest{})
			if err != nil || len(got.GetHealthStatus()) != 1 || got.GetHealthStatus()[0].GetStatus() != s.status || got.GetHealthStatus()[0].GetDetails() != s.reason {
				t.Errorf("%s: %v, %v, want %s %q", name, got, err, s.status, s.reason)
			}
			want := healthpb.HealthCheckResponse_NOT_SERVING
			if s.status == running {
				want = healthpb.HealthCheckResponse_SERVING
			}
			for i, conn := range conns {
				for _, service := range []string{"", "liveness", "tetragon.FineGuidanceSensors", "boltseal.v1.Boltseal"} {
					got, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
					if err != nil || got.GetStatus() != want {
						t.Errorf("%s: service %q, listener %d: %v, %v; want %s", name, service, i, got, err, want)
					}
				}
				if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
					t.Errorf("unknown service: %v", err)
				}
			}
		}
		for _, conn := range conns[1:] {
			if _, err := tetragon.NewFineGuidanceSensorsClient(conn).GetVersion(t.Context(), &tetragon.GetVersionRequest{}); status.Code(err) != codes.Unimplemented {
				t.Errorf("the listener for health answers other calls: %v", err)
			}
		}
	}
}

// aside serves a health by itself.
func aside(t *testing.T, h *Health, address string) *grpc.ClientConn {
	t.Helper()
	l, err := ListenLocal(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(ctx, l) }()
	target := l.Addr().String()
	if l.Addr().Network() == "unix" {
		target = "unix://" + target
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serve health: %v", err)
		}
	})
	return conn
}

func TestHealthOfAKind(t *testing.T) {
	needRoot(t)
	client := tetragon.NewFineGuidanceSensorsClient(serve(t, &fake{}, container.New(0)))
	const undef, kind = tetragon.HealthStatusType_HEALTH_STATUS_TYPE_UNDEF, tetragon.HealthStatusType_HEALTH_STATUS_TYPE_STATUS
	for _, test := range []struct {
		set  []tetragon.HealthStatusType
		want int
	}{
		{nil, 1}, {[]tetragon.HealthStatusType{kind}, 1}, {[]tetragon.HealthStatusType{undef, kind, kind}, 1}, {[]tetragon.HealthStatusType{undef, 77}, 0},
	} {
		got, err := client.GetHealth(t.Context(), &tetragon.GetHealthStatusRequest{EventSet: test.set})
		if err != nil || len(got.GetHealthStatus()) != test.want {
			t.Errorf("%v: %v, %v; want %d", test.set, got, err, test.want)
		}
	}
}

// TestWatchHealth: who watches is told of every change.
func TestWatchHealth(t *testing.T) {
	needRoot(t)
	h := NewHealth()
	watch, err := healthpb.NewHealthClient(serveWith(t, &fake{}, Options{Containers: container.New(0), Health: h})).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []healthpb.HealthCheckResponse_ServingStatus{2, 1, 2} {
		got, err := watch.Recv()
		if err != nil || got.GetStatus() != want {
			t.Fatalf("%d: %v, %v; want %s", i, got, err, want)
		}
		[]func(){h.Ready, h.Stopping, func() {}}[i]()
	}
}

func TestListenLocalIsLocal(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"0.0.0.0:0", "[::]:0", ":0", "127.0.0.1", "unix://" + t.TempDir()} {
		if l, err := ListenLocal(t.Context(), address); err == nil {
			t.Errorf("%s: listens on %s", address, l.Addr())
			l.Close()
		}
	}
	path := filepath.Join(t.TempDir(), "s")
	for _, address := range []string{path, "unix://" + path} {
		l, err := ListenLocal(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		if l.Addr().String() != path {
			t.Errorf("%s: listens on %s", address, l.Addr())
		}
		l.Close()
	}
	l, err := ListenLocal(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		t.Errorf("listens on %s", l.Addr())
	}
}

// TestReflection: it is there when it was asked for only.
func TestReflection(t *testing.T) {
	needRoot(t)
	for _, on := range []bool{false, true} {
		conn := serveWith(t, &fake{}, Options{Containers: container.New(0), Reflection: on})
		stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ask := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}
		// EOF: it was refused already, and Recv says why.
		if err := stream.Send(ask); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		response, err := stream.Recv()
		if !on {
			if status.Code(err) != codes.Unimplemented {
				t.Errorf("not asked for: %v, %v", response, err)
			}
			continue
		}
		found := map[string]bool{}
		for _, s := range response.GetListServicesResponse().GetService() {
			found[s.GetName()] = true
		}
		for _, want := range []string{"tetragon.FineGuidanceSensors", "boltseal.v1.Boltseal", "grpc.health.v1.Health"} {
			if err != nil || !found[want] {
				t.Errorf("%v, %v; want %s", found, err, want)
			}
		}
	}
}
