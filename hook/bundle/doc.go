// SPDX-License-Identifier: Apache-2.0

// Package bundle turns what a container runtime hands to an OCI hook (the state
// on standard input and the bundle's config.json) into the RuntimeHook request
// that the agent understands.
//
// The package is pure: it takes bytes and returns values, and touches neither
// files nor the kernel. All its input is hostile: annotations come from whoever
// wrote the pod, the rest from whoever made the bundle. A fault is an error that
// wraps [ErrState], [ErrConfig] or [ErrRequest]; nothing is guessed in place of
// a broken field.
//
// # What is taken from where
//
// The init pid, the container id and the bundle come from the state, never from
// an annotation (CRI-O repeats the id in one). The cgroup
// path is handed on as config.json spells it: the agent finds the real cgroup
// through the init pid, because the text alone does not say where a runtime put
// the container (crun under systemd adds a level, an empty path means the
// runtime's default). Identity that people use (names, image, pod) comes from
// annotations, whose keys differ by engine:
//
//	field        containerd (CRI)                        CRI-O                           nerdctl
//	name         io.kubernetes.cri.container-name        io.kubernetes.container.name,   nerdctl/name
//	                                                     io.kubernetes.cri-o.ContainerName
//	image        io.kubernetes.cri.image-name,           io.kubernetes.cri-o.ImageName,
//	             io.kubernetes.cri.podsandbox.image-name io.kubernetes.cri-o.Image
//	pod name     io.kubernetes.cri.sandbox-name          io.kubernetes.pod.name,
//	                                                     io.kubernetes.cri-o.KubeName
//	pod uid      io.kubernetes.cri.sandbox-uid           io.kubernetes.pod.uid
//	pod ns       io.kubernetes.cri.sandbox-namespace     io.kubernetes.pod.namespace,
//	                                                     io.kubernetes.cri-o.Namespace
//	labels       -                                       io.kubernetes.cri-o.Labels      -
//
// Podman marks its containers (io.container.manager is "libpod") but writes
// neither their name nor their image; Docker writes no annotations at all. Of
// those the id is known, and the agent may learn the rest elsewhere.
//
// Only the keys of the engine that made the bundle are read, and the engine is
// told by the bundle's directory before any annotation is asked: an engine copies
// a pod's own annotations into config.json, so a pod on CRI-O could otherwise
// carry containerd's keys and pass for a pod of another namespace. When the
// engine can not be told (a bundle made by hand), all keys are tried in the order
// of the columns.
package bundle
