// SPDX-License-Identifier: Apache-2.0

package container

import (
	"path"
	"strings"
	"time"
)

// Pod is what the runtime told about the Kubernetes pod of a container. It may
// be partly empty: no Kubernetes API is asked.
type Pod struct {
	// Name is the pod's name.
	Name string
	// Namespace is the pod's namespace.
	Namespace string
	// UID is the pod's unique id.
	UID string
	// Labels are the pod's labels.
	Labels map[string]string
	// Annotations are the pod's annotations.
	Annotations map[string]string
}

// Container is one container as its runtime made it. Values are immutable: do
// not modify one (nor its maps, nor its Pod) after Put.
type Container struct {
	// ID is the runtime's id, unique among the live containers of a host.
	ID string
	// Name is the name people know it by; it may equal ID.
	Name string
	// Image is the image reference as the runtime wrote it, possibly empty.
	Image string
	// Runtime names the runtime that made it ("runc", "crun", ...), possibly empty.
	Runtime string
	// Bundle is the OCI bundle directory on the host.
	Bundle string
	// RootDir is the root file system's directory on the host.
	RootDir string
	// CgroupPath is the cgroup's path below the root of the unified hierarchy.
	CgroupPath string
	// CgroupID is the cgroup's id in the unified hierarchy; 0 = not known yet.
	CgroupID uint64
	// Slot is the index that the seal uses for the container in the kernel's
	// maps; 0 = none yet.
	Slot uint32
	// InitPID is the host's pid of the init process; 0 = not known.
	InitPID uint32
	// Labels are the container's own labels.
	Labels map[string]string
	// Annotations are the OCI annotations of the container's config.
	Annotations map[string]string
	// Pod is nil for a container that is in no pod.
	Pod *Pod
	// Privileged tells whether nothing is kept from it that its runtime could keep:
	// nil when nobody told.
	Privileged *bool
	// Sandbox tells that it is its pod's own (pause) container.
	Sandbox bool
	// Guess tells that nothing but its cgroup is known yet.
	Guess bool
	// Late tells that the container ran before it was sealed.
	Late bool
	// Added is when the agent learnt of the container.
	Added time.Time
	// Removed is when it was removed; zero while it is alive.
	Removed time.Time
}

// Alive tells whether the container has not been removed.
func (c *Container) Alive() bool { return c.Removed.IsZero() }

// Namespace is the namespace that containerd keeps the container in, empty without
// containerd: its shims' bundles are .../io.containerd.runtime.v2.task/<namespace>/<id>.
func (c *Container) Namespace() string {
	dir := path.Dir(path.Clean(c.Bundle))
	if !strings.HasPrefix(path.Base(path.Dir(dir)), "io.containerd.runtime.") {
		return ""
	}
	return path.Base(dir)
}

// Repo is the repository part of the image: the reference without tag and
// digest. A registry's port stays: "localhost:5000/a/b:1.0@sha256:..." gives
// "localhost:5000/a/b". It is empty when Image is, or is an image's id
// ("sha256:" and 64 digits), which is in no repository.
func (c *Container) Repo() string { return Repo(c.Image) }

// Repo cuts tag and digest off an image reference; see [Container.Repo].
func Repo(image string) string {
	const idPrefix, idLength = "sha256:", len("sha256:") + 64
	if strings.HasPrefix(image, idPrefix) && len(image) == idLength {
		return ""
	}
	name, _, _ := strings.Cut(image, "@")
	// Only a colon after the last slash starts a tag; one before it is a port.
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name
}
