// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// kube does with a runtime what a kubelet does: it has pods, and makes containers in
// one of them.
type kube struct {
	runtime cri.RuntimeServiceClient
	// pod is the one in which containers are made; or they are spread over pods.
	pod  *pod
	pods []*pod
	next atomic.Uint32
}

// pod is a sandbox.
type pod struct {
	*kube
	id, name string
	once     sync.Once
	config   *cri.PodSandboxConfig
}

// newKube connects to a containerd, waits until it answers, gives it the image that all
// is made of, and starts a pod.
func newKube(t *testing.T, socket string) *kube {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	k := &kube{runtime: cri.NewRuntimeServiceClient(conn)}
	k.answers(t)
	must(t, "ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", imageArchive(t))
	if k.pod, err = k.run(t, podConfig(t)); err != nil {
		t.Fatalf("run pod: %v", err)
	}
	return k
}

// answers waits until the runtime is ready for pods.
func (k *kube) answers(t *testing.T) {
	t.Helper()
	wait(t, "the runtime is ready", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		status, err := k.runtime.Status(ctx, &cri.StatusRequest{})
		for _, c := range status.GetStatus().GetConditions() {
			if c.GetType() == cri.RuntimeReady && !c.GetStatus() {
				err = errors.Join(err, errors.New(c.GetMessage()))
			}
		}
		return err
	})
}

// call is the context of a call; it outlives the test, for cleanups.
func call() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// podConfig describes a pod that needs no network.
func podConfig(t *testing.T) *cri.PodSandboxConfig {
	t.Helper()
	name := agentenv.Mark()
	return &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Uid: name, Namespace: "default"},
		Labels:       map[string]string{"part": "test"},
		LogDirectory: testenv.Dir(t),
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent: "/kubepods/pod" + name,
			SecurityContext: &cri.LinuxSandboxSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
			},
		},
	}
}

// crowd makes pods enough for many containers at once. containerd 1.7 has made some
// with the namespaces of process 0 when many at once were of one pod; they did not start.
func (k *kube) crowd(t *testing.T) {
	t.Helper()
	for range atOnce {
		p, err := k.run(t, podConfig(t))
		if err != nil {
			t.Fatalf("run pod: %v", err)
		}
		k.pods = append(k.pods, p)
	}
}

// run starts a pod, which is removed when the test ends.
func (k *kube) run(t *testing.T, config *cri.PodSandboxConfig) (*pod, error) {
	t.Helper()
	ctx, cancel := call()
	defer cancel()
	response, err := k.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
	if err != nil {
		return nil, err
	}
	p := &pod{kube: k, id: response.GetPodSandboxId(), name: config.GetMetadata().GetName(), config: config}
	t.Cleanup(func() { p.remove(t) })
	return p, nil
}

// remove removes the pod, once.
func (p *pod) remove(t *testing.T) {
	t.Helper()
	p.once.Do(func() {
		ctx, cancel := call()
		defer cancel()
		_, err := p.runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.id})
		_, err2 := p.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.id})
		if err = errors.Join(err, err2); err != nil {
			t.Errorf("remove pod: %v", err)
		}
	})
}

// ask creates a container and returns what the runtime says.
func (k *kube) ask(c container, attempt uint32) (id string, err error) {
	ctx, cancel := call()
	defer cancel()
	annotations, in := agentenv.Marked(c.mark), k.pod
	if n := uint32(len(k.pods)); n > 0 {
		in = k.pods[k.next.Add(1)%n]
	}
	response, err := k.runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: in.id, SandboxConfig: in.config,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: c.name, Attempt: attempt}, Image: &cri.ImageSpec{Image: imageName},
			Command: c.args, Labels: c.labels, Annotations: annotations,
			Mounts:  []*cri.Mount{{ContainerPath: "/tmp", HostPath: c.shared}},
			LogPath: fmt.Sprintf("%s.%d.log", c.name, attempt),
			Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
			}},
		},
	})
	return response.GetContainerId(), err
}

func (k *kube) create(t *testing.T, c container) string {
	t.Helper()
	id, err := k.ask(c, 0)
	if err != nil {
		t.Fatalf("create container: %v", err)
	}
	return id
}

func (k *kube) start(_ *testing.T, id string) testenv.Result {
	ctx, cancel := call()
	defer cancel()
	_, err := k.runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: id})
	if err != nil {
		return testenv.Result{Code: 1, Stderr: err.Error()}
	}
	return testenv.Result{}
}

func (k *kube) wait(t *testing.T, id string) testenv.Result {
	t.Helper()
	var result testenv.Result
	wait(t, "the container has ended", func() error {
		ctx, cancel := call()
		defer cancel()
		response, err := k.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
		if err != nil {
			return err
		}
		is := response.GetStatus()
		if is.GetState() != cri.ContainerState_CONTAINER_EXITED {
			return fmt.Errorf("it is %v", is.GetState())
		}
		result.Code, result.Stderr = int(is.GetExitCode()), is.GetMessage()
		text, err := os.ReadFile(is.GetLogPath())
		result.Stdout = string(text)
		return err
	})
	return result
}

func (k *kube) exec(_ *testing.T, id string, argv ...string) testenv.Result {
	ctx, cancel := call()
	defer cancel()
	response, err := k.runtime.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: id, Cmd: argv, Timeout: int64(patience / time.Second)})
	return testenv.Result{
		Code: int(response.GetExitCode()), Stdout: string(response.GetStdout()), Stderr: string(response.GetStderr()), Err: err,
	}
}

func (k *kube) remove(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := call()
	defer cancel()
	_, err := k.runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: id})
	_, err2 := k.runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: id})
	if err = errors.Join(err, err2); err != nil {
		t.Errorf("remove container: %v", err)
	}
}

// anew does what a kubelet does to restart a container: it makes another one, of the
// same name, in the same pod.
func (k *kube) anew(t *testing.T, c container, attempt uint32) string {
	t.Helper()
	id, err := k.ask(c, attempt)
	if err != nil {
		t.Fatalf("create container, attempt %d: %v", attempt, err)
	}
	t.Cleanup(func() { k.remove(t, id) })
	return id
}
