// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

// errClosed tells that the runtime has closed the connection.
var errClosed = errors.New("closed by the runtime")

const (
	// pluginIndex puts this plugin behind the others, so that it announces what
	// they have made of a container.
	pluginIndex = "90"
	// pluginName is what required_plugins of a runtime's validator has.
	pluginName = "boltseal"
	// watcherName is what the watcher of a connection goes by.
	watcherName = "boltseal-watch"
)

// Waits between attempts to connect: a runtime that restarts is back in a second
// or so, and one that is not there costs nothing.
const (
	firstWait = 50 * time.Millisecond
	lastWait  = 2 * time.Second
)

// dialer connects to a runtime.
type dialer func(context.Context) (net.Conn, error)

func dialerOf(socket string) dialer {
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: lastWait}).DialContext(ctx, "unix", socket)
	}
}

// serve connects to the runtimes, to each of them again and again until the context
// ends: every time that one restarts it has forgotten its plugins. The one that has
// launched this program, if one has, is at the first socket.
func (p *plugin) serve(ctx context.Context, sockets []string, l *launch) {
	p.life = ctx
	var runtimes sync.WaitGroup
	for i, socket := range sockets {
		log, dial := p.log.With("socket", socket), dialerOf(socket)
		gate := dial
		if l != nil && i == 0 {
			gate = l.dial(dial)
		}
		runtimes.Go(func() {
			keep(ctx, log, func() (bool, error) { return p.connect(ctx, gate, dial, log) })
		})
	}
	runtimes.Wait()
}

// keep connects until the context ends.
func keep(ctx context.Context, log *slog.Logger, connect func() (connected bool, err error)) {
	wait := firstWait
	for {
		connected, err := connect()
		if ctx.Err() != nil {
			return
		}
		if connected {
			wait = firstWait
			log.Warn("connection to the runtime lost", "error", err)
		} else {
			log.Info("no runtime to connect to", "retry", wait.String(), "error", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		wait = min(2*wait, lastWait)
	}
}

// connect registers the gate once and serves until its connection ends. Meanwhile it
// keeps a watcher registered, which comes after the gate: what the runtime lists for
// the watcher has every container that came to be before the gate's events began.
func (p *plugin) connect(ctx context.Context, dial, watch dialer, log *slog.Logger) (connected bool, err error) {
	s := newSession(p, log)
	return register(ctx, dial, registration{
		name: pluginName, handler: &gate{s}, log: log, made: s.attach,
		// Runtimes that know it then start nothing while an answer is missing.
		policy: &api.FailurePolicy{FailRequest: true, KeepConnected: true},
		during: func(ctx context.Context) {
			log := log.With("part", "watcher")
			keep(ctx, log, func() (bool, error) {
				return register(ctx, watch, registration{name: watcherName, handler: &watcher{s}, log: log})
			})
		},
	})
}

// registration is how a part of the plugin registers.
type registration struct {
	name    string
	handler any
	log     *slog.Logger
	policy  *api.FailurePolicy
	// made is told the stub before it starts; nil: nobody.
	made func(stub.Stub)
	// during runs while the part is registered, until its context ends; nil: nothing.
	during func(context.Context)
}

// register registers once and serves until the connection or the context ends.
func register(ctx context.Context, dial dialer, r registration) (connected bool, err error) {
	dialed, err := dial(ctx)
	if err != nil {
		return false, err
	}
	conn := &watched{Conn: dialed, ended: make(chan struct{})}
	options := []stub.Option{
		stub.WithConnection(conn), stub.WithPluginName(r.name), stub.WithPluginIdx(pluginIndex), stub.WithLogger(nriLog{r.log}),
	}
	if r.policy != nil {
		options = append(options, stub.WithFailurePolicy(r.policy))
	}
	s, err := stub.New(r.handler, options...)
	if err != nil {
		return false, errors.Join(err, conn.Close())
	}
	if r.made != nil {
		r.made(s)
	}
	// A runtime that takes the registration and goes away before it configures the
	// plugin leaves Start waiting for ever. It is left behind then: the next
	// connection is worth more than what it holds.
	started := make(chan error, 1)
	go func() { started <- s.Start(ctx) }()
	select {
	case err := <-started:
		if err != nil {
			return false, errors.Join(err, conn.Close())
		}
	case <-ctx.Done():
		return false, errors.Join(ctx.Err(), conn.Close())
	case <-conn.ended:
		return false, errors.Join(errClosed, conn.Close())
	}
	defer s.Stop()
	return true, r.serve(ctx, conn)
}

// serve runs what goes on beside a registration until it ends.
func (r registration) serve(ctx context.Context, conn *watched) error {
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	if r.during != nil {
		beside.Go(func() { r.during(ctx) })
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-conn.ended:
		return errClosed
	}
}

// watched is a connection that tells of its end, from whichever side it comes.
type watched struct {
	net.Conn
	once  sync.Once
	ended chan struct{}
}

// Read is that of the connection.
func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if err != nil {
		w.once.Do(func() { close(w.ended) })
	}
	return n, err
}

// Close is that of the connection.
func (w *watched) Close() error {
	w.once.Do(func() { close(w.ended) })
	return w.Conn.Close()
}
