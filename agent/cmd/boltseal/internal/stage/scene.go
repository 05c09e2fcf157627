// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ociVersion is one that every runc of today accepts.
const ociVersion = "1.0.2"

// scene is the files of a stage, below one directory.
type scene struct {
	dir, name string
}

// Paths in the directory.
func (s scene) socket() string     { return filepath.Join(s.dir, "agent.sock") }
func (s scene) address() string    { return "unix://" + s.socket() }
func (s scene) runcRoot() string   { return filepath.Join(s.dir, "runc") }
func (s scene) agentLog() string   { return filepath.Join(s.dir, "agent.log") }
func (s scene) agentFile() string  { return filepath.Join(s.dir, "boltseald.yaml") }
func (s scene) hookConfig() string { return filepath.Join(s.dir, "hook.json") }
func (s scene) spool() string      { return filepath.Join(s.dir, "spool") }
func (s scene) bundle(role string) string {
	return filepath.Join(s.dir, "bundles", role)
}

// usable says why a directory will not do for a stage.
func usable(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	return usableWith(dir, st.Flags)
}

// usableWith is usable for a directory on a mount with these flags.
func usableWith(dir string, flags int64) error {
	if flags&unix.ST_NOEXEC != 0 {
		return fmt.Errorf("programs in %s cannot be run: name another directory with $TMPDIR", dir)
	}
	const maxSocketPath = 107
	if n := len(scene{dir: dir}.socket()); n > maxSocketPath {
		return fmt.Errorf("%s is too long for a socket below it: name another directory with $TMPDIR", dir)
	}
	return nil
}

// build writes what the agent and the hook are told.
func (s scene) build() error {
	hookConfig, err := json.Marshal(map[string]any{
		"address": s.address(), "deadline": "10s", "spool_dir": s.spool(), "booted_file": filepath.Join(s.dir, "booted"),
	})
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(s.hookConfig(), hookConfig, 0o600),
		os.WriteFile(s.agentFile(), []byte("{}\n"), 0o600),
	)
}

// buildRoot writes a container's root: busybox under the names of applets, and
// files by their paths.
func (s scene) buildRoot(busybox, name string, applets []string, files map[string]string) (root string, err error) {
	root = filepath.Join(s.dir, "roots", name)
	for _, dir := range []string{"bin", "dev", "etc", "proc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return "", err
		}
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return "", err
	}
	// A copy: a link would let a container write to the host's program.
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), program, 0o700); err != nil { //nolint:gosec // a program
		return "", err
	}
	for _, applet := range applets {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			return "", err
		}
	}
	for path, text := range files {
		path = filepath.Join(root, filepath.Clean("/"+path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return root, nil
}

// buildBundle writes the bundle of one container.
func (s scene) buildBundle(c *Container, hook string) error {
	dir := s.bundle(c.Role)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	config, err := json.MarshalIndent(s.config(c, hook), "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600)
}

// config is an ordinary configuration with the hook in it, and without anything
// that needs more than a small machine has: no limits, no network.
func (s scene) config(c *Container, hook string) *specs.Spec {
	spec := &specs.Spec{
		Version: ociVersion,
		Process: &specs.Process{
			Args: c.Args,
			Env:  []string{"PATH=/bin"}, Cwd: "/", NoNewPrivileges: true,
		},
		Root:        &specs.Root{Path: c.Root, Readonly: true},
		Hostname:    c.Role,
		Annotations: map[string]string{},
		Hooks: &specs.Hooks{CreateRuntime: []specs.Hook{{
			Path: hook, Args: []string{"boltseal-hook", "createRuntime", "--config", s.hookConfig()},
		}}},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=64k"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777", "size=16m"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: c.CgroupPath,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
			},
		},
	}
	for key, value := range c.Annotations {
		spec.Annotations[key] = value
	}
	if len(c.Capabilities) > 0 {
		spec.Process.Capabilities = &specs.LinuxCapabilities{
			Bounding: c.Capabilities, Effective: c.Capabilities, Permitted: c.Capabilities,
		}
	}
	return spec
}
