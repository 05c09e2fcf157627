// SPDX-License-Identifier: Apache-2.0

//go:build linux

package runtimes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// patience is for what a runtime does under emulation.
const patience = 2 * time.Minute

// containerd starts pods through containerd's CRI, and nothing but the NRI
// plugin tells the agent of them. It stops the agent.
func containerd(t *testing.T, agent *agentenv.Agent) {
	requireContainerd(t)
	mark, hook := agentenv.Mark(), agent.Hook(t)
	agent.Policy(t, agentenv.KillShadow(mark, mark))
	c := startContainerd(t)
	plugin := startPlugin(t, c, hook)
	pod := c.pod(t)

	for _, test := range []struct {
		mark string
		exit int32
	}{{mark, 137}, {agentenv.Mark(), 0}} {
		started := pod.start(t, test.mark)
		known := waitArmed(t, agent, started.id)
		if err := agentenv.SealedFirst(known); err != nil {
			t.Errorf("mark %s: %v: %v\n%s", test.mark, err, known, plugin.Log())
		}
		// The cgroup's path came from the plugin before there was a cgroup.
		if known.GetSealedBy() != boltseal.SealedBy_SEALED_BY_EXPECTED_PATH {
			t.Errorf("sealed by %v, want its expected path", known.GetSealedBy())
		}
		if known.GetName() != started.name || known.GetPod().GetName() != pod.name || known.GetPod().GetLabels()["part"] != "test" ||
			known.GetLabels()[agentenv.MarkKey] != test.mark || !strings.Contains(known.GetImage(), "localhost/boltseal-test") {
			t.Errorf("known as %v", known)
		}
		if test.mark == mark {
			plugin = restarted(t, agent, c, plugin, hook, started)
		}
		agentenv.Release(t, started.shared)
		exit, log := started.wait(t)
		if leaked := strings.Contains(log, testenv.Secret); exit != test.exit || leaked != (test.exit == 0) {
			t.Errorf("mark %s: exit status %d, want %d; it wrote %q", test.mark, exit, test.exit, log)
		}
	}
	heldByTheHook(t, agent, pod, plugin, mark)
}

// restarted starts the plugin anew beside a running container, which it tells of
// as one that it finds: that makes nothing late that was sealed in time.
func restarted(t *testing.T, agent *agentenv.Agent, c *daemonCRI, plugin *testenv.DaemonProcess, hook *agentenv.Hook, running *created) *testenv.DaemonProcess {
	t.Helper()
	if log := plugin.Log(); !strings.Contains(log, `"event":"start"`) {
		t.Errorf("the plugin has not confirmed the start:\n%s", log)
	}
	plugin.Stop(t)
	plugin = startPlugin(t, c, hook)
	testenv.Eventually(t, patience, "the plugin tells of what runs", func() error {
		if log := plugin.Log(); !strings.Contains(log, `"event":"adopt"`) {
			return errors.New(log)
		}
		return nil
	})
	if known := agent.Container(t, running.id); known.GetState() != boltseal.ContainerState_CONTAINER_STATE_ARMED {
		t.Errorf("known as %v after a restart of the plugin", known)
	}
	return plugin
}

// heldByTheHook takes agent and plugin away between the creation of a container
// and its start: NRI alone would let it start.
func heldByTheHook(t *testing.T, agent *agentenv.Agent, pod *pod, plugin *testenv.DaemonProcess, mark string) {
	t.Helper()
	id, _ := pod.create(t, mark)
	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	plugin.Stop(t)
	_, err := pod.runtime.StartContainer(t.Context(), &cri.StartContainerRequest{ContainerId: id})
	if err == nil || !strings.Contains(err.Error(), "boltseal") {
		t.Errorf("started without an agent under the fail policy block: %v\n%s", err, plugin.Log())
	}
}

// requireContainerd skips where there is no containerd that knows NRI; the lab
// has one.
func requireContainerd(t *testing.T) {
	t.Helper()
	testenv.Require(t, inLab("containerd with NRI", func() error {
		for _, name := range []string{"containerd", "ctr"} {
			if _, err := exec.LookPath(name); err != nil {
				return err
			}
		}
		out, err := exec.Command("containerd", "--version").Output()
		if err != nil {
			return err
		}
		fields := strings.Fields(string(out))
		if len(fields) < 3 {
			return fmt.Errorf("containerd calls itself %q", out)
		}
		if version := fields[2]; strings.HasPrefix(version, "1.") && !strings.HasPrefix(version, "1.7") {
			return fmt.Errorf("containerd %s has no NRI", version)
		}
		return unified()
	}))
}

// daemonCRI is a containerd of the test's own.
type daemonCRI struct {
	dir, nri string
	runtime  cri.RuntimeServiceClient
}

// image is what all containers and sandboxes of these tests run.
const image = "localhost/boltseal-test:latest"

func startContainerd(t *testing.T) *daemonCRI {
	t.Helper()
	dir := testenv.Dir(t)
	c := &daemonCRI{dir: dir, nri: filepath.Join(dir, "nri.sock")}
	socket := filepath.Join(dir, "c.sock")
	// The plugin that is left out makes directories below /opt.
	config := fmt.Sprintf(`version = 2
disabled_plugins = ["io.containerd.internal.v1.opt"]
root = %[1]q
state = %[2]q
[grpc]
  address = %[3]q
[ttrpc]
  address = %[4]q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[5]q
  disable_apparmor = true
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
[plugins."io.containerd.nri.v1.nri"]
  disable = false
  socket_path = %[6]q
  plugin_path = %[1]q
  plugin_config_path = %[1]q
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket, filepath.Join(dir, "t.sock"), image, c.nri)
	file := filepath.Join(dir, "containerd.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := testenv.Daemon(t, dir, "containerd", "--config", file)
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c.runtime = cri.NewRuntimeServiceClient(conn)
	testenv.Eventually(t, patience, "containerd answers", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := c.runtime.Version(ctx, &cri.VersionRequest{})
		return err
	})
	archive := filepath.Join(dir, "image.tar")
	if err := testenv.WriteImage(archive, image, testenv.Rootfs(t)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", archive).CombinedOutput()
	if err != nil {
		t.Fatalf("import image: %v: %s\n%s", err, out, daemon.Log())
	}
	return c
}

// startPlugin starts boltseal-nri and waits until the runtime knows it.
func startPlugin(t *testing.T, c *daemonCRI, hook *agentenv.Hook) *testenv.DaemonProcess {
	t.Helper()
	d := testenv.Daemon(t, c.dir, testenv.Binary(t, "./nri-plugin"), "--nri-socket", c.nri, "--config", hook.Config, "--hook", hook.Binary)
	testenv.Eventually(t, patience, "the plugin is connected", func() error {
		if !strings.Contains(d.Log(), `"msg":"connected"`) {
			return fmt.Errorf("its log: %s", d.Log())
		}
		return nil
	})
	return d
}

// pod is a sandbox in which containers are started.
type pod struct {
	*daemonCRI
	name, id string
	config   *cri.PodSandboxConfig
	made     int
}

func (c *daemonCRI) pod(t *testing.T) *pod {
	t.Helper()
	parent := testenv.TempCgroup(t) // it goes with all that is left below it
	p := &pod{daemonCRI: c, name: agentenv.Mark()}
	p.config = &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: p.name, Uid: p.name, Namespace: "default"},
		Labels:       map[string]string{"part": "test"},
		LogDirectory: c.dir,
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent: parent.Path,
			SecurityContext: &cri.LinuxSandboxSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
			},
		},
	}
	response, err := c.runtime.RunPodSandbox(t.Context(), &cri.RunPodSandboxRequest{Config: p.config})
	if err != nil {
		t.Fatalf("run pod: %v", err)
	}
	p.id = response.GetPodSandboxId()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := c.runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
			t.Errorf("stop pod: %v", err)
		}
		if _, err := c.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
			t.Errorf("remove pod: %v", err)
		}
	})
	return p
}

// created is a container of a pod.
type created struct {
	*pod
	id, name, shared string
}

// create creates a container that reads /etc/shadow when it is released.
func (p *pod) create(t *testing.T, mark string) (id string, c *created) {
	t.Helper()
	p.made++
	c = &created{pod: p, name: fmt.Sprintf("c%d", p.made), shared: testenv.Dir(t)}
	response, err := p.runtime.CreateContainer(t.Context(), &cri.CreateContainerRequest{
		PodSandboxId: p.id, SandboxConfig: p.config,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: c.name},
			Image:    &cri.ImageSpec{Image: image},
			Command:  agentenv.Waiting(),
			Labels:   map[string]string{agentenv.MarkKey: mark},
			Mounts:   []*cri.Mount{{ContainerPath: "/tmp", HostPath: c.shared}},
			LogPath:  c.name + ".log",
			Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
			}},
		},
	})
	if err != nil {
		t.Fatalf("create container: %v", err)
	}
	c.id = response.GetContainerId()
	return c.id, c
}

func (p *pod) start(t *testing.T, mark string) *created {
	t.Helper()
	id, c := p.create(t, mark)
	if _, err := p.runtime.StartContainer(t.Context(), &cri.StartContainerRequest{ContainerId: id}); err != nil {
		t.Fatalf("start container: %v", err)
	}
	return c
}

// wait returns the exit status and everything that the container wrote.
func (c *created) wait(t *testing.T) (exit int32, log string) {
	t.Helper()
	testenv.Eventually(t, patience, "the container has ended", func() error {
		response, err := c.runtime.ContainerStatus(t.Context(), &cri.ContainerStatusRequest{ContainerId: c.id})
		if err != nil {
			return err
		}
		if state := response.GetStatus().GetState(); state != cri.ContainerState_CONTAINER_EXITED {
			return fmt.Errorf("it is %v", state)
		}
		exit = response.GetStatus().GetExitCode()
		return nil
	})
	data, err := os.ReadFile(filepath.Join(c.dir, c.name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	return exit, string(data)
}
