// SPDX-License-Identifier: Apache-2.0

package demo

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

//go:embed policy.yaml
var policyText string

const (
	policyName = "demo-no-shadow-read"
	// policyKey is the annotation by which a container asks for a policy.
	policyKey = "boltseal.policy"

	// What is in the files that the containers read.
	hostnameText = "boltseal-demo\n"
	shadowText   = "root:not-a-real-secret:1::::::\n"

	// ociVersion is one that every runc of today accepts.
	ociVersion = "1.0.2"
)

// The two acts: one that no policy forbids, and one that the policy does.
const (
	untouchedFile = "/etc/hostname"
	forbiddenFile = "/etc/shadow"
)

// scene is the files of a run, below one directory.
type scene struct {
	dir, name string
}

// Paths in the directory.
func (s scene) socket() string     { return filepath.Join(s.dir, "agent.sock") }
func (s scene) address() string    { return "unix://" + s.socket() }
func (s scene) rootfs() string     { return filepath.Join(s.dir, "rootfs") }
func (s scene) runcRoot() string   { return filepath.Join(s.dir, "runc") }
func (s scene) agentLog() string   { return filepath.Join(s.dir, "agent.log") }
func (s scene) agentFile() string  { return filepath.Join(s.dir, "boltseald.yaml") }
func (s scene) hookConfig() string { return filepath.Join(s.dir, "hook.json") }
func (s scene) spool() string      { return filepath.Join(s.dir, "spool") }
func (s scene) bundle(role string) string {
	return filepath.Join(s.dir, "bundles", role)
}

// usable says why a directory will not do for the demo.
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

// build writes everything but the bundles.
func (s scene) build(t tools) error {
	for _, dir := range []string{"bin", "dev", "etc", "proc"} {
		if err := os.MkdirAll(filepath.Join(s.rootfs(), dir), 0o755); err != nil {
			return err
		}
	}
	hookConfig, err := json.Marshal(map[string]any{
		"address": s.address(), "deadline": "10s", "spool_dir": s.spool(), "booted_file": filepath.Join(s.dir, "booted"),
	})
	if err != nil {
		return err
	}
	busybox, err := os.ReadFile(t.busybox)
	if err != nil {
		return err
	}
	inRootfs := func(name string) string { return filepath.Join(s.rootfs(), name) }
	return errors.Join(
		// A copy: a link would let a container write to the host's program.
		os.WriteFile(inRootfs("bin/busybox"), busybox, 0o700), //nolint:gosec // a program
		os.Symlink("busybox", inRootfs("bin/cat")),
		os.WriteFile(inRootfs(untouchedFile), []byte(hostnameText), 0o600),
		os.WriteFile(inRootfs(forbiddenFile), []byte(shadowText), 0o600),
		os.WriteFile(s.hookConfig(), hookConfig, 0o600),
		os.WriteFile(s.agentFile(), []byte("{}\n"), 0o600),
	)
}

// buildBundle writes the bundle of one container. Its entrypoint does both acts
// itself, the one that nothing forbids first.
func (s scene) buildBundle(c *container, hook string) error {
	dir := s.bundle(c.role)
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
func (s scene) config(c *container, hook string) *specs.Spec {
	spec := &specs.Spec{
		Version: ociVersion,
		Process: &specs.Process{
			Args: []string{"/bin/cat", untouchedFile, forbiddenFile},
			Env:  []string{"PATH=/bin"}, Cwd: "/", NoNewPrivileges: true,
		},
		Root:        &specs.Root{Path: s.rootfs(), Readonly: true},
		Hostname:    c.role,
		Annotations: map[string]string{},
		Hooks: &specs.Hooks{CreateRuntime: []specs.Hook{{
			Path: hook, Args: []string{"boltseal-hook", "createRuntime", "--config", s.hookConfig()},
		}}},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=64k"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: c.cgroup,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
			},
		},
	}
	if c.selected {
		spec.Annotations[policyKey] = policyName
	}
	return spec
}

// openPolicy is the part of the policy for the system call open, which newer
// architectures do not have.
const openPolicy = `  - subsystem: syscalls
    event: sys_enter_open
    message: opens /etc/shadow
    args:
    - {index: 5, type: string, label: filename}
    selectors: *kill
`

// policyFor is the policy's text on an architecture.
func policyFor(goarch string) string {
	if goarch == "amd64" {
		return policyText + openPolicy
	}
	return policyText
}
