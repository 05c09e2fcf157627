// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/containerd/nri/pkg/api"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/hook/settings"
)

// launch is a runtime that has started this program, from its directory of plugins.
// It waits for a registration on the connection that it has passed on, and starts
// the program once: another one comes only with the runtime's next start.
type launch struct {
	conn net.Conn // nil once it has been used, and for a standby
	// runtime is a descriptor of its process.
	runtime *os.File
	// active is one of the process that this one is the standby of; nil: of none.
	active *os.File
}

// launched takes what a runtime has passed on; nil: nobody did. The library would use
// the same for every registration, and finds nothing of it later.
func launched() (*launch, error) {
	text := os.Getenv(api.PluginSocketEnvVar)
	if text == "" {
		return standby()
	}
	for _, name := range []string{api.PluginSocketEnvVar, api.PluginNameEnvVar, api.PluginIdxEnvVar} {
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
	}
	fd, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("%s=%q: not a descriptor", api.PluginSocketEnvVar, text)
	}
	file := os.NewFile(uintptr(fd), "nri")
	if file == nil {
		return nil, fmt.Errorf("%s=%q: not a descriptor", api.PluginSocketEnvVar, text)
	}
	conn, err := net.FileConn(file) // of a copy
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("%s=%q: %w", api.PluginSocketEnvVar, text, err)
	}
	l := &launch{conn: conn}
	if l.runtime, err = processAt(conn); err != nil {
		return nil, errors.Join(fmt.Errorf("find the runtime that started this program: %w", err), conn.Close())
	}
	return l, nil
}

// processAt opens the process that made the other end of a connection.
func processAt(conn net.Conn) (*os.File, error) {
	local, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.New("its connection is not a unix socket")
	}
	raw, err := local.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || peerErr != nil {
		return nil, errors.Join(err, peerErr)
	}
	fd, err := unix.PidfdOpen(int(peer.Pid), 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", peer.Pid, err)
	}
	return os.NewFile(uintptr(fd), "runtime"), nil
}

// run is what this program does where a runtime has started it: the same, until that
// runtime ends.
func (l *launch) run(ctx context.Context, o options, stderr io.Writer) error {
	if l.active != nil && !l.turn(ctx) {
		return nil
	}
	ctx, end := l.life(ctx)
	defer end()
	to, done := logTo(o, stderr)
	defer done()
	log := slog.New(slog.NewJSONHandler(to, nil))
	p, err := newPlugin(o, log)
	if err != nil {
		log.Error("started wrongly", "error", err)
		return err
	}
	// The runtime would start everything unasked then, or would not start itself.
	if err := p.check(); err != nil {
		log.Error("no container starts until this is mended", "error", err)
	}
	p.background.Go(func() { l.stand(ctx, log) })
	defer p.background.Wait()
	p.serve(ctx, o.sockets, l)
	return nil
}

// ended tells whether the runtime's process has ended.
func (l *launch) ended(wait time.Duration) bool { return ended(l.runtime, wait) }

// ended tells whether a process has ended; it waits for that as long as it may.
func ended(process *os.File, wait time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(process.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(wait/time.Millisecond))
	return err == nil && n > 0
}

// life is a context that ends with the runtime's process: the next one starts a
// plugin of its own.
func (l *launch) life(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for ctx.Err() == nil {
			if l.ended(time.Second) {
				cancel(errClosed)
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

// dial returns the connection that was passed on, and once that has been used, one to
// where the runtime listens.
func (l *launch) dial(next dialer) dialer {
	return func(ctx context.Context) (net.Conn, error) {
		if conn := l.conn; conn != nil {
			l.conn = nil
			return conn, nil
		}
		if l.ended(0) {
			return nil, errClosed
		}
		return next(ctx)
	}
}

// logTo is where a launched plugin logs to: nobody has its standard error.
func logTo(o options, stderr io.Writer) (io.Writer, func()) {
	s, _ := settings.Load(o.config, settings.File{}) // what is wrong with them is told later
	if s.LogFile == "" || s.LogFile == "-" {
		return stderr, func() {}
	}
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE | unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_NOCTTY
	//nolint:gosec // the path is root's configuration
	f, err := os.OpenFile(s.LogFile, flags, 0o600)
	if err != nil {
		return stderr, func() {}
	}
	return f, func() { _ = f.Close() }
}
