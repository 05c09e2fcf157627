// SPDX-License-Identifier: Apache-2.0

package main

import (
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
	crioImage       = "io.kubernetes.cri-o.ImageName"
)

// translate makes the request that the agent understands of a container that a
// runtime tells of. Before the container's first process there is no pid: the
// request is then an announcement of its cgroup. Errors wrap errRequest.
func translate(runtime string, pod *api.PodSandbox, c *api.Container) (*bundle.Request, error) {
	if c.GetId() == "" || len(c.GetId()) > bundle.MaxID {
		return nil, fmt.Errorf("%w: an id of %d bytes: want 1 to %d", errRequest, len(c.GetId()), bundle.MaxID)
	}
	path := c.GetLinux().GetCgroupsPath()
	if path == "" && c.GetPid() == 0 {
		return nil, fmt.Errorf("%w %.64q: neither a cgroup path nor a pid", errRequest, c.GetId())
	}
	if len(path) > bundle.MaxPath {
		return nil, fmt.Errorf("%w %.64q: a cgroup path of %d bytes: at most %d", errRequest, c.GetId(), len(path), bundle.MaxPath)
	}
	image := c.GetImage().GetName()
	for _, key := range []string{containerdImage, crioImage} {
		if image == "" {
			image = c.GetAnnotations()[key]
		}
	}
	r := &bundle.Request{
		CgroupsPath: path, ID: c.GetId(), Name: c.GetName(), Image: image, InitPid: c.GetPid(), Runtime: runtime,
		Labels: c.GetLabels(), Annotations: c.GetAnnotations(),
		PodName: pod.GetName(), PodUID: pod.GetUid(), PodNamespace: pod.GetNamespace(),
		PodLabels: pod.GetLabels(), PodAnnotations: pod.GetAnnotations(),
	}
	for _, m := range c.GetMounts() {
		r.Mounts = append(r.Mounts, bundle.Mount{
			Destination: m.GetDestination(), Type: m.GetType(), Source: m.GetSource(), Options: m.GetOptions(),
		})
	}
	return r, nil
}
