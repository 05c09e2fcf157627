// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command boltseal-nri tells the agent of the containers of containerd and CRI-O,
// as a plugin of their node resource interface (NRI). README.md has the whole.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/settings"
)

// version is set when the program is built.
var version = "unknown" //nolint:gochecknoglobals // the linker can set nothing else

// errClosed tells that the runtime has closed the connection.
var errClosed = errors.New("closed by the runtime")

const (
	// pluginIndex puts this plugin behind the others, so that it announces what
	// they have made of a container.
	pluginIndex = "90"
	pluginName  = "boltseal"
)

// options are the command line.
type options struct {
	config, socket, address, hook, failPolicy string
	version                                   bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "boltseal-nri:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.version {
		_, err := fmt.Fprintln(stdout, "boltseal-nri", version)
		return err
	}
	p, err := newPlugin(o, slog.New(slog.NewJSONHandler(stderr, nil)))
	if err != nil {
		return err
	}
	defer p.adopted.Wait()
	p.serve(ctx, o.socket)
	return nil
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("boltseal-nri", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.config, "config", "", "configuration, shared with boltseal-hook (default "+settings.DefaultFile+", which may be missing)")
	flags.StringVar(&o.socket, "nri-socket", api.DefaultSocketPath, "the runtime's socket")
	flags.StringVar(&o.address, "address", "", "the agent's socket (default "+agentclient.DefaultAddress+")")
	flags.StringVar(&o.hook, "hook", "/usr/local/bin/boltseal-hook", "the hook that is added to containers; empty for none: a container starts unasked while this plugin is away")
	flags.StringVar(&o.failPolicy, "fail-policy", "", "block, allow or quarantine, when no rule of the file matches (default block)")
	flags.BoolVar(&o.version, "version", false, "print the version")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return o, nil
}

// newPlugin checks everything that would only fail with the first container.
func newPlugin(o options, log *slog.Logger) (*plugin, error) {
	s, err := settings.Load(o.config, settings.File{
		Address: o.address, FailPolicy: agentclient.FailPolicy{Default: agentclient.Answer(o.failPolicy)},
	})
	if err != nil {
		return nil, err
	}
	p := &plugin{settings: s, log: log, hook: o.hook, life: context.Background()}
	if o.hook == "" {
		log.Warn("no hook is added to containers: one that starts while this plugin is away starts unasked")
		return p, nil
	}
	if !filepath.IsAbs(o.hook) {
		return nil, fmt.Errorf("hook %q: not an absolute path", o.hook)
	}
	// The hook reads the same file, in whichever directory the runtime is.
	if o.config != "" && !filepath.IsAbs(o.config) {
		return nil, fmt.Errorf("configuration %q: not an absolute path", o.config)
	}
	info, err := os.Stat(o.hook)
	if err != nil {
		return nil, fmt.Errorf("hook: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return nil, fmt.Errorf("hook %s: not a program", o.hook)
	}
	// The flags that were given here hold there as well.
	for name, value := range map[string]string{"--config": o.config, "--address": o.address, "--fail-policy": o.failPolicy} {
		if value != "" {
			p.hookArgs = append(p.hookArgs, name, value)
		}
	}
	p.hookArgs = append(p.hookArgs, "createRuntime")
	return p, nil
}

// Waits between attempts to connect: a runtime that restarts is back in a second
// or so, and one that is not there costs nothing.
const (
	firstWait = 50 * time.Millisecond
	lastWait  = 2 * time.Second
)

// serve connects to the runtime, again and again until the context ends: every
// time that it restarts it has forgotten its plugins.
func (p *plugin) serve(ctx context.Context, socket string) {
	p.life = ctx
	wait := firstWait
	for {
		connected, err := p.connect(ctx, socket)
		if ctx.Err() != nil {
			return
		}
		if connected {
			wait = firstWait
			p.log.Warn("connection to the runtime lost", "socket", socket, "error", err)
		} else {
			p.log.Info("no runtime to connect to", "socket", socket, "retry", wait.String(), "error", err)
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

// connect registers the plugin once and serves until the connection ends.
func (p *plugin) connect(ctx context.Context, socket string) (connected bool, err error) {
	dialed, err := (&net.Dialer{Timeout: lastWait}).DialContext(ctx, "unix", socket)
	if err != nil {
		return false, err
	}
	conn := &watched{Conn: dialed, ended: make(chan struct{})}
	s, err := stub.New(p, stub.WithConnection(conn), stub.WithPluginName(pluginName), stub.WithPluginIdx(pluginIndex),
		stub.WithLogger(nriLog{p.log}),
		// Runtimes that know it then start nothing while an answer is missing.
		stub.WithFailurePolicy(&api.FailurePolicy{FailRequest: true, KeepConnected: true}))
	if err != nil {
		return false, errors.Join(err, conn.Close())
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
	select {
	case <-ctx.Done():
		return true, ctx.Err()
	case <-conn.ended:
		return true, errClosed
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
