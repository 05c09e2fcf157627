// SPDX-License-Identifier: Apache-2.0

package canary

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
)

// Podman starts canaries with podman run, from a directory instead of an image.
type Podman struct{ Path string }

// Name is "podman".
func (Podman) Name() string { return "podman" }

// TakesHook is true: podman can be told another directory of hooks.
func (Podman) TakesHook() bool { return true }

// Bundled is false: an administrator registers hooks.
func (Podman) Bundled() bool { return false }

// Probe asks podman what it is, which fails where it cannot work.
func (r Podman) Probe(ctx context.Context) (string, error) {
	text, err := call(ctx, r.Path, "info", "--format", "podman {{.Version.Version}} with {{.Host.OCIRuntime.Name}}")
	return firstLine(text), err
}

func (r Podman) start(_ context.Context, s *Scene, c Canary) (*process, error) {
	id := filepath.Join(s.work(c), "id")
	var args []string
	if c.Hook != nil {
		hooks := filepath.Join(s.work(c), "hooks.d")
		text, err := json.Marshal(map[string]any{
			"version": "1.0.0", "hook": c.Hook.spec(), "when": map[string]any{"always": true}, "stages": []string{"createRuntime"},
		})
		if err == nil {
			err = os.Mkdir(hooks, 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(hooks, "boltseal.json"), text, 0o600)
		}
		if err != nil {
			return nil, err
		}
		args = []string{"--hooks-dir", hooks}
	}
	args = append(args, "run", "--rm", "--name", c.Name, "--cidfile", id, "--network=none", "--log-driver=none",
		// So that the canary may open the directory it is given.
		"--security-opt", "label=disable", "--security-opt", "apparmor=unconfined",
		"--annotation", MarkKey+"="+c.Mark, "--volume", s.shared(c)+":"+sharedDir+":ro", "--rootfs", s.root())
	p, err := foreground(s, c, r.Path, append(args, s.args(c)...)...)
	if err != nil {
		return nil, err
	}
	p.id = idFile(id)
	p.remove = func(ctx context.Context) error {
		_, err := call(ctx, r.Path, "rm", "--force", "--ignore", "--time=0", c.Name)
		return err
	}
	return p, nil
}
