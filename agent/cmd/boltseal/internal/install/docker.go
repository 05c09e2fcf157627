// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/install/jsonedit"
)

// docker has no hooks: dockerd calls the low-level runtime through a wrapper,
// which is made the default one.
type docker struct{}

const (
	dockerConfig = "/etc/docker/daemon.json"
	dockerPID    = "/var/run/docker.pid"
	// dockerRuntime is our runtime's name in Docker.
	dockerRuntime = "boltseal"
	// dockerd can check a file since 23.0.
	dockerValidates = 23
)

func (docker) name() string { return "docker" }

func (docker) find(h *host) (string, bool) {
	program := h.look("dockerd")
	return program, program != "" || h.exists("/var/run/docker.sock")
}

// dockerArgs is one runtime of daemon.json.
type dockerArgs struct {
	Path        string          `json:"path,omitempty"`
	RuntimeArgs json.RawMessage `json:"runtimeArgs,omitempty"`
	RuntimeType string          `json:"runtimeType,omitempty"`
}

func (e docker) draft(_ context.Context, h *host, d *draft, s Settings) (string, error) {
	file, err := e.file(h, s)
	if err != nil {
		return "", err
	}
	text, err := d.text(file)
	if err != nil {
		return "", err
	}
	real, args, err := e.real(text)
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	wrapper, err := h.wrapper(d, e.name(), real)
	if err != nil {
		return "", err
	}
	err = d.set(e.name(), file, formatJSON, dockerArgs{Path: wrapper, RuntimeArgs: args}, "runtimes", dockerRuntime)
	if err != nil {
		return "", err
	}
	if err := d.set(e.name(), file, formatJSON, dockerRuntime, "default-runtime"); err != nil {
		return "", err
	}
	return "default runtime " + dockerRuntime + ": " + wrapper, nil
}

var errShim = fmt.Errorf("default-runtime: is a shim, which boltseal cannot wrap: register it with containerd instead")

// real returns the path or name of the runtime that is the default, or would be
// without us, and its arguments.
func (docker) real(text []byte) (string, json.RawMessage, error) {
	name := ""
	raw, found, err := jsonedit.Get(text, "default-runtime")
	if err != nil {
		return "", nil, err
	}
	if found {
		if err := json.Unmarshal(raw, &name); err != nil {
			return "", nil, fmt.Errorf("default-runtime: %w", err)
		}
	}
	switch name {
	case "", "runc", "io.containerd.runc.v2":
		return "runc", nil, nil
	}
	raw, found, err = jsonedit.Get(text, "runtimes", name)
	if err != nil {
		return "", nil, err
	}
	if !found {
		return "", nil, fmt.Errorf("default-runtime: %q is not among the runtimes of the file", name)
	}
	var args dockerArgs
	if err := json.Unmarshal(raw, &args); err != nil {
		return "", nil, fmt.Errorf("runtimes.%s: %w", name, err)
	}
	if args.Path == "" {
		return "", nil, errShim
	}
	if name == dockerRuntime { // registered already
		args.Path = strings.TrimPrefix(path.Base(args.Path), "boltseal-")
	}
	return args.Path, args.RuntimeArgs, nil
}

// file finds the configuration that dockerd is started with, and refuses what it
// would not start with: a setting that is in the file and on its command line.
func (docker) file(h *host, s Settings) (string, error) {
	file := dockerConfig
	lines, err := h.unitLines("docker.service")
	if err != nil {
		return "", err
	}
	flag := regexp.MustCompile(`--config-file[= ]("[^"]*"|\S+)`)
	for _, line := range lines {
		if strings.Contains(line, "--default-runtime") {
			return "", fmt.Errorf("docker.service starts dockerd with --default-runtime, which cannot be in %s too: "+
				"take it out of the unit first", file)
		}
		if found := flag.FindStringSubmatch(line); found != nil {
			file = strings.Trim(found[1], `"`)
		}
	}
	if s.Config != "" {
		file = s.Config
	}
	return file, nil
}

func (e docker) check(ctx context.Context, h *host, s Settings) error {
	program, _ := e.find(h)
	if h.run == nil || program == "" || h.versionOf(ctx, program).major < dockerValidates {
		return nil
	}
	file, err := e.file(h, s)
	if err != nil || !h.exists(file) {
		return err
	}
	if _, err := h.run(ctx, program, "--validate", "--config-file", file); err != nil {
		return fmt.Errorf("%s: dockerd refuses it: %w", file, err)
	}
	return nil
}

// reload needs no restart as a rule: dockerd takes runtimes and the default one from a
// file that it reads again. Before version 25 it does not notice a default runtime that
// is no longer in it, so it is asked.
func (docker) reload(ctx context.Context, h *host) string {
	if h.run == nil {
		return "dockerd reads it when it starts"
	}
	pid, running := h.runningPID(dockerPID, "dockerd")
	if !running {
		return "dockerd is not running: it reads the file when it starts"
	}
	told := "dockerd was reloaded by systemd"
	if _, err := h.run(ctx, "systemctl", "reload", "docker"); err != nil {
		if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
			return fmt.Sprintf("dockerd could not be told to reload (%v): do kill -HUP %d", err, pid)
		}
		told = "dockerd was told to reload (SIGHUP)"
	}
	if err := hasReloaded(ctx, h); err != nil {
		return fmt.Sprintf("%s, but %v: restart it, or new containers do not start as they should", told, err)
	}
	return told + "; containers that are there keep their runtime"
}

// Limits of asking dockerd whether it has read its file.
const (
	reloadTime     = 5 * time.Second
	reloadInterval = 100 * time.Millisecond
)

// hasReloaded returns nil when dockerd's default runtime is ours while it is registered,
// and another one while it is not.
func hasReloaded(ctx context.Context, h *host) error {
	is, err := readManifest(h.disk)
	if err != nil {
		return err
	}
	_, registered := is.Settings[docker{}.name()]
	for deadline := time.Now().Add(reloadTime); ; {
		out, err := h.run(ctx, "docker", "info", "--format", "{{.DefaultRuntime}}")
		if err != nil {
			return fmt.Errorf("cannot be asked for its default runtime (%w)", err)
		}
		name := strings.TrimSpace(string(out))
		if (name == dockerRuntime) == registered {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("keeps the default runtime %q", name)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reloadInterval):
		}
	}
}

// bound counts containers that were made with our runtime: without it, dockerd
// does not start them again.
func (docker) bound(h *host) int {
	files, err := h.disk.matches("/var/lib/docker/containers/*/hostconfig.json")
	if err != nil {
		return 0
	}
	count := 0
	for _, file := range files {
		var c struct{ Runtime string }
		if decodeFile(file, &c) == nil && c.Runtime == dockerRuntime {
			count++
		}
	}
	return count
}
