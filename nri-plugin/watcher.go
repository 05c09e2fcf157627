// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"github.com/boltseal/boltseal/hook/bundle"
)

// What the library asks for by name and would leave out in silence.
var (
	_ stub.SynchronizeInterface     = (*watcher)(nil)
	_ stub.RunPodInterface          = (*watcher)(nil)
	_ stub.StopPodInterface         = (*watcher)(nil)
	_ stub.RemovePodInterface       = (*watcher)(nil)
	_ stub.UpdateContainerInterface = (*watcher)(nil)
	_ stub.RemoveContainerInterface = (*watcher)(nil)
)

// watcher is the part of the plugin that only listens. It never returns an error and
// a runtime that loses it goes on. Its methods may be called at the same time.
type watcher struct{ *session }

// Synchronize is told of what there is once the gate has its events: runtimes that
// create containers while a plugin registers have some by now that the gate heard
// nothing of. Those that the agent has acknowledged already are not told again.
func (w *watcher) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	there := make(map[string]bool, len(pods)+len(containers))
	for _, pod := range pods {
		there[pod.GetId()] = true
	}
	for _, c := range containers {
		there[c.GetId()] = true
	}
	w.forget(func(id string) bool { return !there[id] })
	w.adopt(pods, containers)
	return nil, nil
}

// RunPodSandbox tells the agent of the pod's own container. It does not hold up the
// pod whatever comes of it: the containers that its author wrote have to get past the
// gate themselves.
func (w *watcher) RunPodSandbox(ctx context.Context, pod *api.PodSandbox) error {
	runtime, of, limit := w.kind()
	if !of.pods {
		return nil
	}
	request, err := translateSandbox(runtime, pod)
	if !of.early {
		w.inBackground([]func(){func() { w.introduce("sandbox", request, err, true) }})
		return nil
	}
	now := w.terms()
	ctx, cancel := context.WithTimeout(ctx, min(limit, now.Deadline))
	defer cancel()
	w.inform(ctx, now, "sandbox", request, err, false)
	return nil
}

// StopPodSandbox takes the announcement of the pod's own container back, if that was
// never made.
func (w *watcher) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	w.gone(pod.GetId())
	return nil
}

// RemovePodSandbox is StopPodSandbox for runtimes that skip it.
func (w *watcher) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	w.gone(pod.GetId())
	return nil
}

// RemoveContainer takes back the announcement of a container that was never made, as
// when its image lacks the program: it frees its place in the kernel.
func (w *watcher) RemoveContainer(_ context.Context, _ *api.PodSandbox, c *api.Container) error {
	w.gone(c.GetId())
	return nil
}

// UpdateContainer tells the agent anew of a container that runs and whose identity,
// which policies select it by, has changed. Resources alone are no reason.
func (w *watcher) UpdateContainer(_ context.Context, pod *api.PodSandbox, c *api.Container, _ *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	if c.GetPid() == 0 || !w.knows(c.GetId()) {
		return nil, nil
	}
	request, err := w.request(pod, c)
	if err != nil || !w.toldAs(request) {
		w.inBackground([]func(){func() { w.introduce("update", request, err, false) }})
	}
	return nil, nil
}

// gone tells the agent that a container is not there any more. Nobody waits for it,
// and an announcement that is not withdrawn expires.
func (w *watcher) gone(id string) {
	w.forget(func(known string) bool { return known == id })
	if id == "" || len(id) > bundle.MaxID {
		return
	}
	w.inBackground([]func(){func() {
		if w.life.Err() != nil {
			return
		}
		now := w.terms()
		ctx, cancel := context.WithTimeout(w.life, now.Deadline)
		defer cancel()
		outcome := now.send(ctx, bundle.MarshalRemoval(id))
		w.log.Debug("container", "event", "remove", "container_id", id, "cause", outcome.Cause.String())
	}})
}
