// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

func podmanWays() []way {
	return []way{{engine: "podman", by: "hooks directory", open: openPodman, plain: plainPodman}}
}

// podman is podman with everything at its usual place. It has no daemon: each command
// starts the hook itself.
type podman struct {
	version, runtime string
	// hooks are the flags that name another directory of hooks.
	hooks []string
}

// unified tells whether the room has cgroups of version 2 alone.
func unified(t *testing.T) bool {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil {
		t.Fatal(err)
	}
	return fs.Type == unix.CGROUP2_SUPER_MAGIC
}

func openPodman(t *testing.T) engine {
	t.Helper()
	p := startPodman(t)
	register(t, "podman")
	return p
}

func plainPodman(t *testing.T) unregistered {
	t.Helper()
	return startPodman(t)
}

// podmanConfig is /etc/containers/containers.conf: without systemd and, where cgroups are
// of version 2 alone, on a machine that has left no controllers to them. A room's root
// may not raise limits, which podman 4 does for every container.
const podmanConfig = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = %q
`

// startPodman sets podman up. crun, its usual runtime, refuses cgroups of mixed versions.
func startPodman(t *testing.T) *podman {
	t.Helper()
	p := &podman{runtime: "runc"}
	if unified(t) {
		p.runtime = "crun"
	}
	needs(t, "podman", "conmon", p.runtime)
	const config = "/etc/containers/containers.conf"
	if err := writeNew(config, fmt.Sprintf(podmanConfig, p.runtime)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, argv := range [][]string{{"podman", "pod", "rm", "--all", "--force"}, {"podman", "rm", "--all", "--force", "--time=0"}, {"podman", "rmi", "--all", "--force"}} {
			if result := run(t, argv...); result.Code != 0 {
				t.Errorf("%q: %s", argv, result)
			}
		}
		if err := os.Remove(config); err != nil {
			t.Error(err)
		}
	})
	must(t, "podman", "load", "--quiet", "--input", imageArchive(t))
	p.version = versionIn(must(t, "podman", "--version"))
	// What podman makes once and keeps is made now.
	if out := must(t, "podman", "run", "--rm", "--network=none", "--security-opt=apparmor=unconfined", imageName, "/bin/echo", "here"); out != "here\n" {
		t.Fatalf("podman runs nothing: %q", out)
	}
	return p
}

func (p *podman) flags() []string { return nil }

// reload does nothing: podman reads its directory for each container.
func (p *podman) reload(*testing.T, string) {}

func (p *podman) doctor() []string { return nil }

func (p *podman) title() string { return p.version + " with " + p.runtime }

// do runs podman.
func (p *podman) do(t *testing.T, args ...string) testenv.Result {
	t.Helper()
	return run(t, slices.Concat([]string{"podman"}, p.hooks, args)...)
}

// create makes a container; the hooks are read when it is started.
func (p *podman) create(t *testing.T, c container) string {
	t.Helper()
	return p.createWith(t, c)
}

func (p *podman) createWith(t *testing.T, c container, flags ...string) string {
	t.Helper()
	return strings.TrimSpace(must(t, slices.Concat([]string{
		"podman", "create", "--name", c.name, "--network=none", "--security-opt=apparmor=unconfined",
		"--volume", c.shared + ":/tmp", "--annotation", agentenv.MarkKey + "=" + c.mark,
	}, flags, []string{imageName}, c.args)...))
}

func (p *podman) start(t *testing.T, id string) testenv.Result {
	t.Helper()
	return p.do(t, "start", id)
}

func (p *podman) wait(t *testing.T, id string) testenv.Result {
	t.Helper()
	status, err := strconv.Atoi(strings.TrimSpace(must(t, "podman", "wait", id)))
	if err != nil {
		t.Fatal(err)
	}
	result := p.do(t, "logs", id)
	result.Code = status
	return result
}

func (p *podman) exec(t *testing.T, id string, argv ...string) testenv.Result {
	t.Helper()
	return p.do(t, append([]string{"exec", id}, argv...)...)
}

func (p *podman) restart(t *testing.T, id string) testenv.Result {
	t.Helper()
	return p.do(t, "restart", "--time=0", id)
}

func (p *podman) pause(t *testing.T, id string) testenv.Result {
	t.Helper()
	return p.do(t, "pause", id)
}

func (p *podman) unpause(t *testing.T, id string) testenv.Result {
	t.Helper()
	return p.do(t, "unpause", id)
}

func (p *podman) remove(t *testing.T, id string) {
	t.Helper()
	if result := p.do(t, "rm", "--force", "--time=0", id); result.Code != 0 {
		t.Errorf("remove: %s", result)
	}
}

// without has podman read a directory without hooks.
func (p *podman) without(t *testing.T) {
	t.Helper()
	p.hooks = []string{"--hooks-dir", testenv.Dir(t)}
}

func (p *podman) with(*testing.T) { p.hooks = nil }

func (p *podman) own() map[string]own {
	const because = "Podman starts no NRI plugins"
	return map[string]own{
		cellPluginDies:  {because: because, check: startsNoPlugin},
		cellSynchronize: {because: because, check: startsNoPlugin},
	}
}

// startsNoPlugin holds that a plugin where runtimes with NRI look for them is not run.
func startsNoPlugin(t *testing.T, r *rig) {
	const dir = "/opt/nri/plugins"
	trace := filepath.Join(testenv.Dir(t), "trace")
	err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "10-trace"), []byte("#!/bin/sh\ntouch "+trace+"\n"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	r.works(t)
	if _, err := os.Stat(trace); err == nil {
		t.Error("a plugin was run")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

func podmanRig(t *testing.T) (*rig, *podman) {
	t.Helper()
	release(t)
	return rigOf[*podman](t, podmanWays()[0])
}

// held reports what a test that has not failed has shown.
func held(t *testing.T, format string, args ...any) {
	t.Helper()
	if !t.Failed() {
		testenv.Report(t, format, args...)
	}
}

// TestPodmanRename: the policies in force follow a container that gets another name.
func TestPodmanRename(t *testing.T) {
	r, p := podmanRig(t)
	first, second := agentenv.Mark(), agentenv.Mark()
	r.agent.Policy(t, strings.ReplaceAll(agentenv.KillShadow(second, second), agentenv.MarkKey, "name"))
	s := r.named(t, container{name: first, mark: agentenv.Mark(), args: agentenv.Waiting()})
	s.mustStart(t)
	if known := s.armed(t, 0); known.GetName() != first || known.GetRuntime() != "podman" || len(known.GetPolicies()) != 0 {
		t.Errorf("known as %v", known)
	}
	if result := p.do(t, "rename", first, second); result.Code != 0 {
		t.Fatalf("rename: %s", result)
	}
	wait(t, "the container has its new name", func() error {
		if known := r.agent.Container(t, s.id); known.GetName() != second || !slices.Equal(known.GetPolicies(), []string{second}) {
			return fmt.Errorf("the agent knows %v", known)
		}
		return nil
	})
	s.release(t)
	if result := s.wait(t, s.id); result.Code != killed {
		t.Errorf("want exit status %d: %s", killed, result)
	}
	held(t, "podman %s: renamed, and the policies in force are those for the new name", p.title())
}

// TestPodmanPod: in a pod both its infra container and the other are sealed before their
// first task, and held to the policies of their own.
func TestPodmanPod(t *testing.T) {
	r, p := podmanRig(t)
	pod := agentenv.Mark()
	must(t, "podman", "pod", "create", "--name", pod, "--network=none", "--share=ipc,uts", "--infra-name", pod+"-infra",
		"--infra-image", imageName, "--infra-command", "/bin/sleep 1000000")
	for mark, status := range map[string]int{r.selected: killed, agentenv.Mark(): 0} {
		s := &subject{rig: r, container: container{name: agentenv.Mark(), mark: mark, shared: testenv.Dir(t), args: agentenv.Waiting()}}
		s.id = p.createWith(t, s.container, "--pod", pod)
		s.mustStart(t)
		if known := s.armed(t, 0); agentenv.SealedFirst(known) != nil {
			t.Errorf("%v: %v", agentenv.SealedFirst(known), known)
		}
		s.judged(t, "exec", s.exec(t, s.id, "/bin/cat", "/etc/shadow"))
		s.release(t)
		if result := s.wait(t, s.id); result.Code != status {
			t.Errorf("want exit status %d: %s", status, result)
		}
	}
	infra := strings.TrimSpace(must(t, "podman", "pod", "inspect", "--format", "{{.InfraContainerID}}", pod))
	known := r.agent.Container(t, infra)
	if err := agentenv.SealedFirst(known); err != nil || known.GetName() != pod+"-infra" {
		t.Errorf("infra container: %v: %v", err, known)
	}
	held(t, "podman %s: a pod's infra container is sealed before its first task, as the others in it", p.title())
}
