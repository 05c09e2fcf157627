// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// fault is an error with the exit code it ends in. An empty text says nothing
// more than has been written already.
type fault struct {
	code int
	text string
}

// Error is the text.
func (f *fault) Error() string { return f.text }

func failed(format string, args ...any) *fault {
	return &fault{code: exitFailed, text: fmt.Sprintf(format, args...)}
}

// dial connects to the agent's socket.
func dial(ctx context.Context, path string) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", path)
}

// explain turns any error of a command into what a person can act on.
func (a *app) explain(ctx context.Context, err error) *fault {
	var known *fault
	if errors.As(err, &known) {
		return known
	}
	if errors.Is(err, syscall.EPIPE) {
		return &fault{code: exitFailed} // whoever read our output knows that it went away
	}
	var answer interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &answer) {
		return failed("%v", err)
	}
	switch s := answer.GRPCStatus(); s.Code() {
	case codes.Unavailable:
		return a.unreachable(ctx, s.Message())
	case codes.DeadlineExceeded:
		return &fault{exitNoAgent, fmt.Sprintf(
			"agent at %s did not answer within %s: look at its log, or give it more time with --timeout", a.address, a.timeout)}
	case codes.Unimplemented:
		return failed("agent at %s does not do this: %s", a.address, s.Message())
	case codes.PermissionDenied:
		return failed("agent refused: %s", s.Message())
	default:
		return failed("agent answered: %s", s.Message())
	}
}

// unreachable finds out why no connection to the agent lasts.
func (a *app) unreachable(ctx context.Context, message string) *fault {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := dial(ctx, strings.TrimPrefix(a.address, unixScheme))
	text := ""
	switch {
	case err == nil && os.Geteuid() != 0:
		text = fmt.Sprintf("agent at %s lets only root in: run this as root", a.address)
	case err == nil:
		text = fmt.Sprintf("agent at %s closed the connection (%s): is boltseald what listens there?", a.address, message)
	case errors.Is(err, fs.ErrPermission):
		text = fmt.Sprintf("permission denied to open %s: run this as root", a.address)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		text = fmt.Sprintf("agent is not running at %s: start boltseald, or name its socket with --server-address or $%s", a.address, addressEnv)
	default:
		text = fmt.Sprintf("connect to agent at %s: %v", a.address, err)
	}
	if err == nil {
		conn.Close()
	}
	return &fault{exitNoAgent, text}
}
