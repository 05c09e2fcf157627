// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
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
}

// Events streams events to one subscriber until its context ends or send fails.
// It calls subscribed, once, when no event will be missed from then on. An
// invalid request is an error that wraps ErrFilter before anything is sent.
type Events interface {
	Stream(ctx context.Context, request *tetragon.GetEventsRequest,
		subscribed func() error, send func(*tetragon.GetEventsResponse) error) error
}

// ErrFilter says that a request for events cannot be served as it stands.
var ErrFilter = errors.New("invalid request for events")

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
	Log      *slog.Logger
}

// Server serves the API.
type Server struct {
	tetragon.UnimplementedFineGuidanceSensorsServer
	boltseal.UnimplementedBoltsealServer
	Options
	grpc *grpc.Server
}

// limits of one request: a policy may have 10 MiB of text.
const (
	maxRequest = 12 << 20
	// maxStreams bounds the calls of one connection.
	maxStreams = 256
)

// New makes a server; Serve starts it.
func New(o Options) *Server {
	s := &Server{Options: o}
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ChainUnaryInterceptor(s.logChanges),
	)
	tetragon.RegisterFineGuidanceSensorsServer(s.grpc, s)
	boltseal.RegisterBoltsealServer(s.grpc, s)
	return s
}

// Listen makes the socket, root's alone. One that a dead agent left is replaced;
// one that somebody listens on, or a file that is no socket, is an error.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("make directory of socket: %w", err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("look at socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("socket %s: there is a file that is no socket", path)
	default:
		dialer := net.Dialer{Timeout: time.Second}
		if conn, err := dialer.DialContext(ctx, "unix", path); err == nil {
			conn.Close()
			return nil, fmt.Errorf("socket %s: another agent listens on it", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove old socket: %w", err)
		}
	}
	// Nobody may connect between bind and chmod.
	old := unix.Umask(0o177)
	defer unix.Umask(old)
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return listener, nil
}

// Serve answers calls until Stop.
func (s *Server) Serve(l net.Listener) error {
	return s.grpc.Serve(rootOnly{l, s.Log})
}

// Stop ends all calls.
func (s *Server) Stop() { s.grpc.Stop() }

// rootOnly accepts connections of root.
type rootOnly struct {
	net.Listener
	log *slog.Logger
}

// Accept is the next connection of root; others are closed.
func (l rootOnly) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		cred, err := peer(conn)
		if err == nil && cred.Uid == 0 {
			return conn, nil
		}
		l.log.Warn("refused connection", "peer", cred, "error", err)
		conn.Close()
	}
}

func peer(conn net.Conn) (cred *unix.Ucred, err error) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("connection is %T, not a unix socket", conn)
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(err, controlErr)
}

// logChanges writes down who changed what.
func (s *Server) logChanges(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	start := time.Now()
	response, err := handle(ctx, request)
	level := slog.LevelDebug
	if err != nil {
		level = slog.LevelWarn
	}
	s.Log.Log(ctx, level, "call", "method", info.FullMethod, "took", time.Since(start), "error", err)
	return response, err
}

// failure gives an error its code. Codes decide what a hook does: a refusal
// blocks whatever the fail policy says, the rest follows the policy.
func failure(err error) error {
	code := codes.Internal
	switch {
	case err == nil:
		return nil
	case errors.Is(err, control.ErrInvalid), errors.Is(err, ErrFilter):
		code = codes.InvalidArgument
	case errors.Is(err, control.ErrNotFound):
		code = codes.NotFound
	case errors.Is(err, control.ErrOwned):
		code = codes.FailedPrecondition
	case errors.Is(err, control.ErrRefused), errors.Is(err, seal.ErrOtherContainer):
		code = codes.PermissionDenied
	case errors.Is(err, seal.ErrNoRoom), errors.Is(err, compile.ErrNoRoom), errors.Is(err, container.ErrFull):
		code = codes.ResourceExhausted
	}
	return status.Error(code, err.Error())
}
