// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/containerd/nri/pkg/api"

	"github.com/boltseal/boltseal/hook/bundle"
)

// errRequest tells that a container cannot be announced as the runtime tells it.
var errRequest = errors.New("container of the runtime")

// Annotations that name a container's image, for runtimes whose NRI does not: it
// came with NRI 0.12.
const (
	containerdImage = "io.kubernetes.cri.image-name"
	containerdPause = "io.kubernetes.cri.podsandbox.image-name"
	crioImage       = "io.kubernetes.cri-o.ImageName"
)

// translate makes the request that the agent understands of a container that a
// runtime tells of. Before the container's first process there is no pid: the
// request is then an announcement of its cgroup. Errors wrap errRequest.
func translate(runtime string, pod *api.PodSandbox, c *api.Container) (*bundle.Request, error) {
	path := c.GetLinux().GetCgroupsPath()
	if err := check(c.GetId(), path, c.GetPid()); err != nil {
		return nil, err
	}
	r := &bundle.Request{
		CgroupsPath: path, ID: c.GetId(), Name: c.GetName(), InitPid: c.GetPid(), Runtime: runtime,
		Image:  cmp.Or(c.GetImage().GetName(), c.GetAnnotations()[containerdImage], c.GetAnnotations()[crioImage]),
		Labels: c.GetLabels(), Annotations: c.GetAnnotations(),
		PodName: pod.GetName(), PodUID: pod.GetUid(), PodNamespace: pod.GetNamespace(),
		PodLabels: pod.GetLabels(), PodAnnotations: pod.GetAnnotations(),
	}
	// With a filter of system calls nobody is privileged. What else takes NRI does not
	// tell, as the capabilities: then it is for the hook to say.
	if c.GetLinux().GetSeccompPolicy() != nil {
		r.Privileged = new(bool)
	}
	for _, m := range c.GetMounts() {
		r.Mounts = append(r.Mounts, bundle.Mount{
			Destination: m.GetDestination(), Type: m.GetType(), Source: m.GetSource(), Options: m.GetOptions(),
		})
	}
	return r, nil
}

// translateSandbox is translate for the pod's own (pause) container, which no list of
// containers has.
func translateSandbox(runtime string, pod *api.PodSandbox) (*bundle.Request, error) {
	path := pod.GetLinux().GetCgroupsPath()
	if err := check(pod.GetId(), path, pod.GetPid()); err != nil {
		return nil, err
	}
	return &bundle.Request{
		CgroupsPath: path, ID: pod.GetId(), InitPid: pod.GetPid(), Runtime: runtime, Sandbox: true,
		Image:   cmp.Or(pod.GetAnnotations()[containerdPause], pod.GetAnnotations()[crioImage]),
		PodName: pod.GetName(), PodUID: pod.GetUid(), PodNamespace: pod.GetNamespace(),
		PodLabels: pod.GetLabels(), PodAnnotations: pod.GetAnnotations(),
	}, nil
}

// check refuses what the agent could not find.
func check(id, path string, pid uint32) error {
	switch {
	case id == "" || len(id) > bundle.MaxID:
		return fmt.Errorf("%w: an id of %d bytes: want 1 to %d", errRequest, len(id), bundle.MaxID)
	case path == "" && pid == 0:
		return fmt.Errorf("%w %.64q: neither a cgroup path nor a pid", errRequest, id)
	case len(path) > bundle.MaxPath:
		return fmt.Errorf("%w %.64q: a cgroup path of %d bytes: at most %d", errRequest, id, len(path), bundle.MaxPath)
	}
	return nil
}
