// SPDX-License-Identifier: Apache-2.0

package canary

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/stage"
)

// OCI is a runtime that is run by itself on a bundle, runc or crun, which keeps its
// state in the scene's directory. Its canaries have the hook in the bundle.
type OCI struct {
	// Program is its name, Path where it is.
	Program, Path string
}

// Name is the program's.
func (r OCI) Name() string { return r.Program }

// TakesHook is true: the hook is in the bundle.
func (OCI) TakesHook() bool { return true }

// Bundled is true: nobody else gives a container hooks.
func (OCI) Bundled() bool { return true }

// Probe asks the program for its version.
func (r OCI) Probe(ctx context.Context) (string, error) {
	text, err := call(ctx, r.Path, "--version")
	return firstLine(text) + ", " + r.Path, err
}

func (r OCI) start(_ context.Context, s *Scene, c Canary) (*process, error) {
	config, err := json.Marshal(r.config(s, c))
	if err == nil {
		err = os.WriteFile(filepath.Join(s.work(c), "config.json"), config, 0o600)
	}
	if err != nil {
		return nil, err
	}
	state := filepath.Join(s.dir, r.Program)
	p, err := foreground(s, c, r.Path, "--root", state, "run", "--bundle", s.work(c), c.Name)
	if err != nil {
		return nil, err
	}
	p.remove = func(ctx context.Context) error {
		if _, err := os.Stat(filepath.Join(state, c.Name)); errors.Is(err, fs.ErrNotExist) {
			select {
			case <-p.done: // as it does itself, when it was not killed
				return stage.RemoveCgroups(ctx, c.Name)
			default:
				return nil
			}
		}
		_, err := call(ctx, r.Path, "--root", state, "delete", "--force", c.Name)
		return err
	}
	return p, nil
}

// config is an ordinary configuration without anything that needs more than a small
// machine has: no limits, no network.
func (r OCI) config(s *Scene, c Canary) *specs.Spec {
	spec := &specs.Spec{
		Version:     "1.0.2", // one that every runtime of today accepts
		Process:     &specs.Process{Args: s.args(c), Cwd: "/", NoNewPrivileges: true},
		Root:        &specs.Root{Path: s.root(), Readonly: true},
		Hostname:    "canary",
		Annotations: map[string]string{MarkKey: c.Mark},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=64k"}},
			{Destination: sharedDir, Type: "bind", Source: s.shared(c), Options: []string{"bind", "ro"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: "/" + c.Name,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
			},
		},
	}
	if c.Hook != nil {
		spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{c.Hook.spec()}}
	}
	return spec
}

func (h *Hook) spec() specs.Hook {
	hook := specs.Hook{Path: h.Path, Args: h.Args}
	if h.Timeout > 0 {
		hook.Timeout = &h.Timeout
	}
	return hook
}
