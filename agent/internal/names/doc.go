// SPDX-License-Identifier: Apache-2.0

// Package names finds what people call a container, where its OCI bundle does not
// tell: in the records that engines keep on disk.
//
//	Docker  <data root>/containers/<id>/config.v2.json: the container's name, its
//	        image as it was asked for, and its labels, those of Compose
//	        (com.docker.compose.project, com.docker.compose.service) and of Swarm
//	        among them. It is written before the runtime is called.
//	Podman  <graph root>/<driver>-containers/containers.json, and beside it
//	        volatile-containers.json for containers that are removed as they end:
//	        the name and the image. They are written before the runtime is called.
//	        Labels and pods are in Podman's database alone; an annotation can be
//	        selected by in their place.
//
// containerd's names are in its database, too; nerdctl and CRI write what they know
// into the bundle's annotations, which the hook has read.
//
// The engines' sockets are not asked: an engine that starts a container waits for the
// hook and holds the container's lock, so that the hook would wait for itself: dockerd
// 20.10 does not answer GET /containers/<id>/json before it has started.
//
// Where Docker's data root is, is told by the container's root directory, which is
// below it, or else by data-root in /etc/docker/daemon.json; it is /var/lib/docker
// if nothing tells.
//
// A record is read when a hook tells of a container, before its policies are
// chosen: [Finder.Find] waits for at most half a second, as a file may be on a file
// system that hangs. It is read again when the kernel tells that it has changed
// ([Finder.Follow]), as it does after docker rename and podman rename. Whoever knows
// but the cgroup of a container, as of one that ran before the agent, finds Docker's
// record by the id, and has to check that the init process which the record names is
// in that cgroup: anybody who may make cgroups can give one the name of a container's.
//
// Records are read only if they are regular files of root or of the agent's user
// that nobody else may write, and of a bounded size.
package names
