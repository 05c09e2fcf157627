// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

var (
	// ErrUnreachable tells that no agent could be asked.
	ErrUnreachable = errors.New("agent not reached")
	// ErrNoAnswer tells that an agent was asked and gave no answer that could be
	// understood within the deadline.
	ErrNoAnswer = errors.New("no answer from the agent")
	// ErrAddress tells that an address is not one of an agent.
	ErrAddress = errors.New("agent address")
)

const (
	// DefaultAddress is where the agent listens by default.
	DefaultAddress = "unix:///run/boltseal/boltseal.sock"
	// methodRuntimeHook and methodExecNotice are the full names of the calls.
	methodRuntimeHook = "/tetragon.FineGuidanceSensors/RuntimeHook"
	methodExecNotice  = "/boltseal.v1.Boltseal/ExecNotice"
	// maxSocketPath is the longest path of a unix socket that the kernel takes.
	maxSocketPath = 107
	// backlogPause is the time between two tries while the agent's queue of
	// connections is full.
	backlogPause = time.Millisecond
)

// Client calls an agent. The zero value calls the one at DefaultAddress. It
// holds no connection and is safe for concurrent use.
type Client struct {
	// Address is unix:// and the absolute path of the agent's socket. Empty
	// means DefaultAddress.
	Address string
}

// RuntimeHook sends one encoded tetragon.RuntimeHookRequest. It returns nil only
// when the agent acknowledged it, a *StatusError when the agent answered
// otherwise, and errors that wrap ErrAddress, ErrUnreachable or ErrNoAnswer. It
// ends when the context does; a context without a deadline waits for ever.
func (c Client) RuntimeHook(ctx context.Context, request []byte) error {
	return c.call(ctx, methodRuntimeHook, request)
}

// ExecNotice sends one encoded boltseal.v1.ExecNoticeRequest. It returns as
// RuntimeHook does.
func (c Client) ExecNotice(ctx context.Context, request []byte) error {
	return c.call(ctx, methodExecNotice, request)
}

func (c Client) call(ctx context.Context, method string, request []byte) error {
	path, err := SocketPath(c.Address)
	if err != nil {
		return err
	}
	conn, err := dial(ctx, path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer conn.Close()
	if err := checkPeer(conn); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnreachable, path, err)
	}
	var left time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	// Closing is what ends a blocked read or write when the context is done; it
	// covers the deadline as well, whatever the peer does.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	err = roundTrip(conn, method, request, left)
	var status *StatusError
	switch {
	case err == nil || errors.As(err, &status):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())
	}
	return fmt.Errorf("%w: %w", ErrNoAnswer, err)
}

// SocketPath returns the path of the socket that an address names. Errors wrap
// ErrAddress.
func SocketPath(address string) (string, error) {
	if address == "" {
		address = DefaultAddress
	}
	path, ok := strings.CutPrefix(address, "unix://")
	switch {
	case !ok || !strings.HasPrefix(path, "/"):
		return "", fmt.Errorf("%w %q: want unix:// and an absolute path", ErrAddress, address)
	case len(path) > maxSocketPath:
		return "", fmt.Errorf("%w: path has %d bytes, more than %d", ErrAddress, len(path), maxSocketPath)
	case strings.IndexByte(path, 0) >= 0:
		return "", fmt.Errorf("%w %q: path holds a NUL", ErrAddress, address)
	}
	return path, nil
}

// dial connects to a unix socket. A full backlog is worth waiting for: many
// containers start at once after a boot. Any other error is final.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	for {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", path)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		if !errors.Is(err, syscall.EAGAIN) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		case <-time.After(backlogPause):
		}
	}
}

// checkPeer refuses a listener that is neither root nor of the caller's own
// user: whoever else got hold of the path could acknowledge without sealing.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("peer credentials: %w", err)
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return fmt.Errorf("peer credentials: %w", err)
	}
	if credErr != nil {
		return fmt.Errorf("peer credentials: %w", credErr)
	}
	return trustedPeer(cred.Uid, uint32(os.Geteuid()))
}

// trustedPeer tells whether a listener of user uid may speak for the agent to a
// caller of user self.
func trustedPeer(uid, self uint32) error {
	if uid != 0 && uid != self {
		return fmt.Errorf("the listener runs as user %d, not as root", uid)
	}
	return nil
}
