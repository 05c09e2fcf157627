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
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/containerd/nri/pkg/api"

	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/settings"
)

// version is set when the program is built.
var version = "unknown" //nolint:gochecknoglobals // the linker can set nothing else

// options are the command line.
type options struct {
	config, address, hook, failPolicy string
	sockets                           []string
	version                           bool
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
	l, err := launched()
	if err != nil {
		return err
	}
	if l != nil {
		return l.run(ctx, o, stderr)
	}
	p, err := newPlugin(o, slog.New(slog.NewJSONHandler(stderr, nil)))
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return err
	}
	defer p.background.Wait()
	p.serve(ctx, o.sockets, nil)
	return nil
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("boltseal-nri", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.config, "config", "", "configuration, shared with boltseal-hook (default "+settings.DefaultFile+", which may be missing)")
	flags.Func("nri-socket", "a runtime's socket; may be given for each of several runtimes (default "+api.DefaultSocketPath+")", o.addSocket)
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
	if len(o.sockets) == 0 {
		o.sockets = []string{api.DefaultSocketPath}
	}
	return o, nil
}

// addSocket takes in one more runtime.
func (o *options) addSocket(path string) error {
	switch {
	case !filepath.IsAbs(path):
		return errors.New("not an absolute path")
	case slices.Contains(o.sockets, filepath.Clean(path)):
		return errors.New("given twice")
	}
	o.sockets = append(o.sockets, filepath.Clean(path))
	return nil
}

// newPlugin makes the plugin that options describe.
func newPlugin(o options, log *slog.Logger) (*plugin, error) {
	p := &plugin{log: log, hook: o.hook, life: context.Background()}
	p.load = func() (settings.Settings, error) {
		return settings.Load(o.config, settings.File{
			Address: o.address, FailPolicy: agentclient.FailPolicy{Default: agentclient.Answer(o.failPolicy)},
		})
	}
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
	// The flags that were given here hold there as well.
	for name, value := range map[string]string{"--config": o.config, "--address": o.address, "--fail-policy": o.failPolicy} {
		if value != "" {
			p.hookArgs = append(p.hookArgs, name, value)
		}
	}
	p.hookArgs = append(p.hookArgs, "createRuntime")
	return p, nil
}

// check tells early of what no container could start with.
func (p *plugin) check() error {
	_, err := p.load()
	if p.hook == "" {
		return err
	}
	info, hookErr := os.Stat(p.hook) //nolint:gosec // the path is from root's command line
	switch {
	case hookErr != nil:
		return errors.Join(err, fmt.Errorf("hook: %w", hookErr))
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return errors.Join(err, fmt.Errorf("hook %s: not a program", p.hook))
	}
	return err
}
