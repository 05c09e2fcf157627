// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/seal"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// Control is what the API changes and lists.
type Control interface {
	AddPolicy(yaml []byte) (*policy.Policy, error)
	DeletePolicy(namespace, name string) error
	ConfigurePolicy(namespace, name string, enable *bool, mode *policy.Mode) error
	Policies() ([]control.PolicyStatus, error)
	PoliciesOf(slot uint32) []string
	Admit(control.Admission) (*container.Container, error)
	Withdraw(id string) error
}

// Events streams events to one subscriber until its context ends or send fails.
// It calls subscribed, once, when no event will be missed from then on. An
// invalid request is an error that wraps ErrFilter before anything is sent.
type Events interface {
	Stream(ctx context.Context, request *tetragon.GetEventsRequest,
		subscribed func() error, send func(*tetragon.GetEventsResponse) error) error
	// Test sends an event of the type TEST to all subscribers that want it.
	Test(*tetragon.Test)
}

// ErrFilter says that a request for events cannot be served as it stands.
var ErrFilter = errors.New("invalid request for events")

// errFixed says that a sensor cannot be changed by its name.
var errFixed = errors.New("refused")

// Kernel is what the kernel side can be asked.
type Kernel interface {
	Slot(slot uint32) bpf.WireSlot
	SealedAs(cgroup uint64) (bpf.WireCgroupSeal, bool, error)
	Errors() ([bpf.WireKernelErrorKERR_MAX]uint64, error)
	Slots() uint32
	Lost(slot uint32) uint64
}

// Feature is one thing that this kernel can or cannot do.
type Feature struct {
	Name string
	// Err is nil when it can. Known tells whether it could be told.
	Err   error
	Known bool
}

// PolicyFault is what is wrong with a file of policies.
type PolicyFault struct {
	// File is its path.
	File string
	// Key is that of the policy that it is about, empty when that is not known.
	Key string
	// Err is all that is wrong.
	Err error
}

// Options configures a Server.
type Options struct {
	Version    string
	NodeName   string
	CgroupRoot string
	Started    time.Time
	Control    Control
	Containers *container.Registry
	Events     Events
	EventLog   EventLog
	Kernel     Kernel
	// PolicyFaults lists the files of policies that are not in force as they are; nil:
	// none are watched.
	PolicyFaults func() []PolicyFault
	// Throttled is how many events of a slot's container were not told because of its
	// rate; nil: rates are not limited.
	Throttled func(slot uint32) uint64
	// Sites lists the attached sites.
	Sites func() []engine.SiteInfo
	// Features lists what the kernel can do, and Probes the same by the names that
	// clients of the compatible API know; both were asked once at start.
	Features []Feature
	Probes   map[string]bool
	// Processes is the cache of processes, Stacks the trees of the kernel's stacks.
	Processes Processes
	Stacks    Stacks
	// Settings is the configuration by the names of its settings: bool, int64, string,
	// time.Duration and []string. There are no secrets in it.
	Settings map[string]any
	Health   *Health
	// Reflection: clients can ask which services and methods there are.
	Reflection bool
	Log        *slog.Logger
	// Level is that of Log, which clients can change.
	Level *slog.LevelVar
	// Calls is told of calls; nil: nobody is.
	Calls stats.Handler
}

// Server serves the API.
type Server struct {
	tetragon.UnimplementedFineGuidanceSensorsServer
	tetragon.UnimplementedEventLogServiceServer
	boltseal.UnimplementedBoltsealServer
	Options
	grpc *grpc.Server
	// levelMu is held while Level is changed.
	levelMu sync.Mutex
	execs   execs
	// unfollow ends what follow of execs began.
	unfollow func()
}

// limits of one request: a policy may have 10 MiB of text.
const (
	maxRequest = 12 << 20
	// maxStreams bounds the calls of one connection.
	maxStreams = 256
)

// New makes a server; Serve starts it.
func New(o Options) *Server {
	s := &Server{Options: o, unfollow: func() {}}
	if o.Containers != nil {
		s.unfollow = s.execs.follow(o.Containers)
	}
	options := []grpc.ServerOption{
		grpc.Creds(byPeer{}),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ChainUnaryInterceptor(s.logChanges),
	}
	if o.Calls != nil {
		options = append(options, grpc.StatsHandler(o.Calls))
	}
	s.grpc = grpc.NewServer(options...)
	tetragon.RegisterFineGuidanceSensorsServer(s.grpc, s)
	tetragon.RegisterEventLogServiceServer(s.grpc, s)
	boltseal.RegisterBoltsealServer(s.grpc, s)
	healthpb.RegisterHealthServer(s.grpc, s.Health.grpc)
	if s.Reflection {
		reflection.Register(s.grpc)
	}
	return s
}

// Serve answers calls until Stop.
func (s *Server) Serve(l net.Listener) error {
	return s.grpc.Serve(rootOnly{l, s.Log})
}

// Stop ends all calls.
func (s *Server) Stop() {
	s.unfollow()
	s.grpc.Stop()
}

// logChanges writes down who changed what.
func (s *Server) logChanges(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	start := time.Now()
	response, err := handle(ctx, request)
	level := slog.LevelDebug
	if err != nil {
		level = slog.LevelWarn
	}
	s.Log.Log(ctx, level, "call", "method", info.FullMethod, "took", time.Since(start), "caller", callerOf(ctx), "error", err)
	return response, err
}

// failure gives an error its code. Codes decide what a hook does: a refusal
// blocks whatever the fail policy says, the rest follows the policy.
func failure(err error) error {
	code := codes.Internal
	switch {
	case err == nil:
		return nil
	case errors.Is(err, control.ErrInvalid), errors.Is(err, ErrFilter), errors.Is(err, ErrEventLog):
		code = codes.InvalidArgument
	case errors.Is(err, control.ErrNotFound):
		code = codes.NotFound
	case errors.Is(err, control.ErrOwned), errors.Is(err, errFixed), errors.Is(err, ErrNoEventLog):
		code = codes.FailedPrecondition
	case errors.Is(err, control.ErrRefused), errors.Is(err, seal.ErrOtherContainer):
		code = codes.PermissionDenied
	case errors.Is(err, seal.ErrNoRoom), errors.Is(err, compile.ErrNoRoom), errors.Is(err, container.ErrFull):
		code = codes.ResourceExhausted
	case errors.Is(err, control.ErrUnnamed):
		code = codes.Unavailable
	}
	return status.Error(code, err.Error())
}
