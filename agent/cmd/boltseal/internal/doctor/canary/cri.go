// SPDX-License-Identifier: Apache-2.0

package canary

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CRI starts canaries as Kubernetes does: a pod, and the canary in it. The runtime
// makes the pod's own container from an image of its configuration, which it may have
// to fetch.
type CRI struct {
	// Program is containerd or cri-o, Socket where it listens.
	Program, Socket string
	// Ctr imports the canary's image into containerd; empty: there is no such program.
	Ctr string
}

// Name is the program's.
func (r CRI) Name() string { return r.Program }

// TakesHook is false: only the runtime's administrator can tell it of a hook.
func (CRI) TakesHook() bool { return false }

// Bundled is false: an administrator registers hooks.
func (CRI) Bundled() bool { return false }

// Probe asks the runtime for its version.
func (r CRI) Probe(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	api, err := r.dial()
	if err != nil {
		return "", err
	}
	defer api.conn.Close()
	version, err := api.Version(ctx, &cri.VersionRequest{})
	if err != nil {
		return "", fmt.Errorf("CRI of %s: %s", r.Socket, status.Convert(err).Message())
	}
	text := fmt.Sprintf("%s %s, CRI at %s", version.GetRuntimeName(), version.GetRuntimeVersion(), r.Socket)
	if r.Ctr == "" {
		return "", fmt.Errorf("%s: nothing here can give it the canary's image without a registry", text)
	}
	return text, nil
}

// criClient is the two halves of the API.
type criClient struct {
	cri.RuntimeServiceClient
	images cri.ImageServiceClient
	conn   *grpc.ClientConn
}

func (r CRI) dial() (*criClient, error) {
	conn, err := grpc.NewClient("unix://"+r.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("use CRI at %s: %w", r.Socket, err)
	}
	return &criClient{cri.NewRuntimeServiceClient(conn), cri.NewImageServiceClient(conn), conn}, nil
}

// pod is a canary in its pod.
type pod struct {
	*criClient
	runtime CRI
	config  *cri.PodSandboxConfig
	image   string
	*process
}

func (r CRI) start(ctx context.Context, s *Scene, c Canary) (*process, error) {
	if c.Hook != nil {
		return nil, fmt.Errorf("%s has no hooks of one container", r.Program)
	}
	api, err := r.dial()
	if err != nil {
		return nil, err
	}
	p := &pod{criClient: api, runtime: r, image: "localhost/" + c.Name + ":latest", process: &process{done: make(chan struct{})}}
	p.config = &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: c.Name, Uid: c.Name, Namespace: "default"},
		Labels:   map[string]string{MarkKey: c.Name}, LogDirectory: s.work(c),
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: hostNetwork()}},
	}
	p.remove, p.close = p.clear, api.conn.Close
	id := ""
	p.id = func() (string, error) { return id, nil }
	// Calls that are cut short leave the runtime with half a pod.
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTime)
	defer cancel()
	id, err = p.run(whole, s, c)
	if err != nil {
		p.code, p.said = 1, status.Convert(err).Message()
		close(p.done)
		return p.process, nil
	}
	go p.wait(context.WithoutCancel(ctx), id)
	return p.process, nil
}

func hostNetwork() *cri.NamespaceOption { return &cri.NamespaceOption{Network: cri.NamespaceMode_NODE} }

// run makes image, pod and container, and starts it.
func (p *pod) run(ctx context.Context, s *Scene, c Canary) (id string, err error) {
	archive := filepath.Join(s.work(c), "image.tar")
	if err := s.image(archive, p.image); err != nil {
		return "", err
	}
	if _, err := call(ctx, p.runtime.Ctr, "--address", p.runtime.Socket, "--namespace", "k8s.io", "images", "import", archive); err != nil {
		return "", err
	}
	sandbox, err := p.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: p.config})
	if err != nil {
		return "", err
	}
	made, err := p.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: sandbox.GetPodSandboxId(), SandboxConfig: p.config,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: c.Name},
			Image:    &cri.ImageSpec{Image: p.image},
			Command:  s.args(c),
			Labels:   map[string]string{MarkKey: c.Mark},
			Mounts:   []*cri.Mount{{ContainerPath: sharedDir, HostPath: s.shared(c), Readonly: true}},
			LogPath:  "log",
			Linux: &cri.LinuxContainerConfig{
				SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: hostNetwork()},
			},
		},
	})
	if err != nil {
		return "", err
	}
	_, err = p.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: made.GetContainerId()})
	return made.GetContainerId(), err
}

// wait waits for the end of the container, which ends at the latest when it is removed.
func (p *pod) wait(ctx context.Context, id string) {
	defer close(p.done)
	ctx, cancel := context.WithTimeout(ctx, startTime+endTime+removeTime)
	defer cancel()
	p.err = errors.Join(p.err, poll(ctx, removeInterval, func() bool {
		answer, err := p.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
		if err != nil {
			p.err = fmt.Errorf("ask for the state of the canary: %s", status.Convert(err).Message())
			return true
		}
		p.code = int(answer.GetStatus().GetExitCode())
		return answer.GetStatus().GetState() == cri.ContainerState_CONTAINER_EXITED
	}))
}

// clear removes the pod with all that is in it, and the image.
func (p *pod) clear(ctx context.Context) error {
	list, err := p.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{
		Filter: &cri.PodSandboxFilter{LabelSelector: map[string]string{MarkKey: p.config.GetMetadata().GetName()}},
	})
	if err != nil {
		return said("list pods", err)
	}
	var errs []error
	for _, sandbox := range list.GetItems() {
		if _, err := p.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: sandbox.GetId()}); err != nil {
			errs = append(errs, said("stop pod", err))
		}
		if _, err := p.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: sandbox.GetId()}); err != nil {
			errs = append(errs, said("remove pod", err))
		}
	}
	if _, err := p.images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: p.image}}); err != nil {
		errs = append(errs, said("remove image", err))
	}
	return errors.Join(errs...)
}

func said(what string, err error) error {
	return fmt.Errorf("%s: %s", what, status.Convert(err).Message())
}
