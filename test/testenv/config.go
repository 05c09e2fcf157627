// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ociVersion is one that runc of Debian 12 and crun of any age accept.
const ociVersion = "1.0.2"

// DefaultCapabilities returns what container engines give a container that asks
// for nothing.
func DefaultCapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
}

// config returns config.json. It asks for nothing that needs a right which
// virtual machines keep from root: no resource limits, no out-of-memory score.
// There is no network namespace, which costs more than all else together.
func (s Spec) config(id, rootfs, session string) *specs.Spec {
	args := s.Args
	if args == nil {
		args = []string{"/bin/true"}
	}
	capabilities := s.Capabilities
	if capabilities == nil {
		capabilities = DefaultCapabilities()
	}
	namespaces := s.Namespaces
	if namespaces == nil {
		for _, t := range []specs.LinuxNamespaceType{
			specs.MountNamespace, specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.CgroupNamespace,
		} {
			namespaces = append(namespaces, specs.LinuxNamespace{Type: t})
		}
	}
	return &specs.Spec{
		Version: ociVersion,
		Process: &specs.Process{
			Args: args,
			Env:  append([]string{"PATH=/bin", SessionVariable + "=" + session, "ACTOR_NAME=" + id}, s.Env...),
			Cwd:  "/",
			Capabilities: &specs.LinuxCapabilities{
				Bounding: capabilities, Effective: capabilities, Permitted: capabilities,
			},
		},
		Root:        &specs.Root{Path: rootfs, Readonly: true},
		Hostname:    "boltseal-test",
		Annotations: s.Annotations,
		Hooks:       s.Hooks,
		Mounts: append([]specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=64k"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "size=16m"}},
		}, s.Mounts...),
		Linux: &specs.Linux{CgroupsPath: s.CgroupsPath, Namespaces: namespaces},
	}
}

// addCgroupFS gives the container the host's v2 hierarchy, mounted at root.
func addCgroupFS(spec *specs.Spec, root string) {
	spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.CgroupNamespace
	})
	spec.Mounts = append(spec.Mounts, specs.Mount{
		Destination: "/cg", Type: "bind", Source: root, Options: []string{"rbind", "rw"},
	})
	c := spec.Process.Capabilities
	for _, set := range []*[]string{&c.Bounding, &c.Effective, &c.Permitted} {
		if !slices.Contains(*set, "CAP_SYS_ADMIN") {
			*set = append(slices.Clone(*set), "CAP_SYS_ADMIN")
		}
	}
}
