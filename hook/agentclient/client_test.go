// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// rawCodec hands messages through as bytes.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// handler answers one call.
type handler func(ctx context.Context, request []byte) ([]byte, error)

// serve starts a real gRPC server for RuntimeHook and returns its address.
func serve(t *testing.T, h handler, options ...grpc.ServerOption) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, listener, h, options...)
	return "unix://" + path
}

// serveOn is serve on a listener.
func serveOn(t *testing.T, listener net.Listener, h handler, options ...grpc.ServerOption) {
	t.Helper()
	server := grpc.NewServer(append(options, grpc.ForceServerCodecV2(rawCodec{}))...)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "tetragon.FineGuidanceSensors",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "RuntimeHook",
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				var request []byte
				if err := decode(&request); err != nil {
					return nil, err
				}
				answer, err := h(ctx, request)
				return &answer, err
			},
		}},
	}, struct{}{})
	go server.Serve(listener)
	t.Cleanup(server.Stop)
}

// call makes one call with a deadline that a test does not reach.
func call(t *testing.T, address string, request []byte) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return Client{Address: address}.RuntimeHook(ctx, request)
}

func TestRuntimeHookAcknowledged(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 200, maxFrame, initialWindow - messagePrefix, initialWindow, 4 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			request := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
			got := make(chan []byte, 1)
			address := serve(t, func(ctx context.Context, request []byte) ([]byte, error) {
				got <- request
				return nil, nil
			})
			if err := call(t, address, request); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(<-got, request) {
				t.Error("the server got another request")
			}
		})
	}
}

func TestRuntimeHookWithSmallWindows(t *testing.T) {
	t.Parallel()
	address := serve(t, func(ctx context.Context, request []byte) ([]byte, error) {
		if len(request) != 1<<20 {
			return nil, fmt.Errorf("%d bytes", len(request))
		}
		return []byte("answer"), nil
	}, grpc.InitialWindowSize(1<<16), grpc.InitialConnWindowSize(1<<16))
	if err := call(t, address, make([]byte, 1<<20)); err != nil {
		t.Error(err)
	}
}

func TestRuntimeHookTellsDeadlineAndHeaders(t *testing.T) {
	t.Parallel()
	address := serve(t, func(ctx context.Context, _ []byte) ([]byte, error) {
		deadline, ok := ctx.Deadline()
		if left := time.Until(deadline); !ok || left > 21*time.Second || left < time.Second {
			return nil, status.Errorf(codes.Internal, "deadline in %s", left)
		}
		md, _ := metadata.FromIncomingContext(ctx)
		if got := md.Get("content-type"); len(got) != 1 || got[0] != "application/grpc" {
			return nil, status.Errorf(codes.Internal, "content type %q", got)
		}
		// Headers and trailers beyond one frame go on in CONTINUATION.
		long := strings.Repeat("ü~", 4000)
		grpc.SetHeader(ctx, metadata.Pairs("x-long", long, "y-bin", long))
		grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", long))
		return nil, nil
	})
	if err := call(t, address, []byte("x")); err != nil {
		t.Error(err)
	}
}

func TestRuntimeHookStatus(t *testing.T) {
	t.Parallel()
	const text = "container \"a\": 100% müde\nbad"
	var next codes.Code
	address := serve(t, func(context.Context, []byte) ([]byte, error) { return nil, status.Error(next, text) })
	for next = 1; next < 17; next++ {
		err := call(t, address, []byte("x"))
		var got *StatusError
		if !errors.As(err, &got) || got.Code != Code(next) || got.Message != text {
			t.Errorf("%s: error %v", next, err)
		}
	}
}

func TestRuntimeHookUnimplemented(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	var got *StatusError
	if err := call(t, "unix://"+path, []byte("x")); !errors.As(err, &got) || got.Code.String() != "Unimplemented" {
		t.Errorf("error %v, want Unimplemented", err)
	}
}

func TestRuntimeHookLargerThanTheServerTakes(t *testing.T) {
	t.Parallel()
	address := serve(t, func(context.Context, []byte) ([]byte, error) { return nil, nil })
	var got *StatusError
	err := call(t, address, make([]byte, 4<<20+1))
	if !errors.As(err, &got) || got.Code != ResourceExhausted {
		t.Errorf("error %v, want ResourceExhausted", err)
	}
}

func TestRuntimeHookUnreachable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// A socket file that nobody listens on any more.
	dead := filepath.Join(dir, "dead")
	listener, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	listener.Close()
	for name, path := range map[string]string{
		"no socket": filepath.Join(dir, "none"), "no directory": "/nonexistent/dir/s",
		"a file": file, "a directory": dir, "nobody listens": dead,
	} {
		if err := call(t, "unix://"+path, []byte("x")); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: error %v, want ErrUnreachable", name, err)
		}
	}
}

// TestRuntimeHookWaitsForAFullBacklog: many containers start at once.
func TestRuntimeHookWaitsForAFullBacklog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	var queue []net.Conn
	for {
		conn, err := net.Dial("unix", path)
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		queue = append(queue, conn)
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = Client{Address: "unix://" + path}.RuntimeHook(ctx, []byte("x"))
	if spent := time.Since(start); !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) || spent > 2*time.Second {
		t.Errorf("error %v after %s, want ErrUnreachable at the deadline", err, spent)
	}

	listener, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- call(t, "unix://"+path, []byte("x")) }()
	// They keep their places until the server has looked at them.
	for _, conn := range queue {
		conn.Close()
	}
	serveOn(t, listener, func(context.Context, []byte) ([]byte, error) { return nil, nil })
	if err := <-waiting; err != nil {
		t.Error(err)
	}
}

func TestSocketPath(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"":                                   "/run/boltseal/boltseal.sock",
		"unix:///a/b":                        "/a/b",
		"unix://" + strings.Repeat("/", 107): strings.Repeat("/", 107),
	} {
		if got, err := SocketPath(address); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", address, got, err, want)
		}
	}
	for _, address := range []string{
		"/a/b", "unix:a", "unix://a", "unix:///a\x00b", "localhost:54321", "unix://@abstract", "unix://",
		"unix://" + strings.Repeat("/", 108), "tcp://127.0.0.1:1",
	} {
		if _, err := SocketPath(address); !errors.Is(err, ErrAddress) {
			t.Errorf("%.30q: error %v, want ErrAddress", address, err)
		}
	}
}

func TestTrustedPeer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		uid, self uint32
		want      bool
	}{{0, 0, true}, {0, 1000, true}, {1000, 1000, true}, {1000, 0, false}, {65534, 0, false}, {1001, 1000, false}} {
		if err := trustedPeer(c.uid, c.self); (err == nil) != c.want {
			t.Errorf("listener %d, caller %d: %v", c.uid, c.self, err)
		}
	}
}

// TestRuntimeHookRefusesAnotherUsersSocket listens as another user, which is how
// an impostor at the agent's path would look.
func TestRuntimeHookRefusesAnotherUsersSocket(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to listen as another user")
	}
	dir := t.TempDir()
	for dir, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o711, dir: 0o777} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "s")
	listeners := make(chan net.Listener, 1)
	go func() {
		// The raw call changes this thread alone, and the thread ends with the
		// goroutine, which never unlocks it.
		runtime.LockOSThread()
		const keep = ^uintptr(0)
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, keep, 65534, keep); errno != 0 {
			t.Errorf("setresuid: %v", errno)
		}
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Errorf("listen: %v", err)
		}
		listeners <- listener
	}()
	listener := <-listeners
	if listener == nil {
		t.FailNow()
	}
	defer listener.Close()
	if err := call(t, "unix://"+path, []byte("x")); !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "user 65534") {
		t.Errorf("error %v, want a refusal of user 65534", err)
	}
}
