// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

func dockerWays() []way {
	return []way{{engine: "docker", by: "wrapper", open: openDocker, plain: plainDocker}}
}

// docker is dockerd with everything at its usual place.
type docker struct {
	version string
	daemon  *testenv.DaemonProcess
}

// openDocker starts dockerd with the wrapper as its default runtime.
func openDocker(t *testing.T) engine {
	t.Helper()
	needs(t, "dockerd", "docker")
	register(t, "docker")
	return startDocker(t)
}

// plainDocker starts dockerd as its release has it.
func plainDocker(t *testing.T) unregistered {
	t.Helper()
	needs(t, "dockerd", "docker")
	return startDocker(t)
}

func startDocker(t *testing.T) *docker {
	t.Helper()
	d := &docker{}
	d.run(t)
	must(t, "docker", "load", "--quiet", "--input", imageArchive(t))
	return d
}

// run starts dockerd and waits until it answers.
func (d *docker) run(t *testing.T) {
	t.Helper()
	d.daemon = testenv.Daemon(t, testenv.Dir(t), "dockerd")
	wait(t, "dockerd answers", func() error {
		result := run(t, "docker", "version", "--format", "{{.Server.Version}}")
		if result.Code != 0 {
			return errors.New(result.Stderr + d.daemon.Log())
		}
		d.version = strings.TrimSpace(result.Stdout)
		return nil
	})
}

func (d *docker) flags() []string { return nil }

// reload restarts dockerd only if it is said: install and uninstall have it read its
// file, and say so when it has.
func (d *docker) reload(t *testing.T, said string) {
	t.Helper()
	switch {
	case strings.Contains(said, "restart it"):
		d.daemon.Stop(t)
		d.run(t)
	case !strings.Contains(said, "was told to reload"):
		t.Errorf("not told of what became of dockerd: %s", said)
	}
}

func (d *docker) doctor() []string { return nil }

func (d *docker) title() string { return d.version }

func (d *docker) create(t *testing.T, c container) string {
	t.Helper()
	return d.createWith(t, c)
}

func (d *docker) createWith(t *testing.T, c container, flags ...string) string {
	t.Helper()
	args := []string{
		"docker", "create", "--name", c.name, "--network=none", "--volume", c.shared + ":/tmp",
		"--label", agentenv.MarkKey + "=" + c.mark,
	}
	for key, value := range c.labels {
		args = append(args, "--label", key+"="+value)
	}
	if c.plain {
		args = append(args, "--runtime=runc")
	}
	return strings.TrimSpace(must(t, slices.Concat(args, flags, []string{imageName}, c.args)...))
}

func (d *docker) start(t *testing.T, id string) testenv.Result {
	t.Helper()
	return run(t, "docker", "start", id)
}

func (d *docker) wait(t *testing.T, id string) testenv.Result {
	t.Helper()
	status, err := strconv.Atoi(strings.TrimSpace(must(t, "docker", "wait", id)))
	if err != nil {
		t.Fatal(err)
	}
	result := run(t, "docker", "logs", id)
	result.Code = status
	return result
}

func (d *docker) exec(t *testing.T, id string, argv ...string) testenv.Result {
	t.Helper()
	return run(t, append([]string{"docker", "exec", id}, argv...)...)
}

func (d *docker) restart(t *testing.T, id string) testenv.Result {
	t.Helper()
	return run(t, "docker", "restart", "--time=0", id)
}

func (d *docker) pause(t *testing.T, id string) testenv.Result {
	t.Helper()
	return run(t, "docker", "pause", id)
}

func (d *docker) unpause(t *testing.T, id string) testenv.Result {
	t.Helper()
	return run(t, "docker", "unpause", id)
}

func (d *docker) remove(t *testing.T, id string) {
	t.Helper()
	if result := run(t, "docker", "rm", "--force", id); result.Code != 0 {
		t.Errorf("remove: %s", result)
	}
}

func (d *docker) own() map[string]own {
	const because = "Docker has no NRI"
	return map[string]own{
		cellExec:        {prove: dockerExec},
		cellKnown:       {prove: dockerKnown},
		cellPluginDies:  {because: because, check: noNRI},
		cellSynchronize: {because: because, check: noNRI},
	}
}

// dockerExec: docker exec is covered, and the agent was told what it would execute.
func dockerExec(t *testing.T, r *rig) {
	execCovered(t, r)
	s, before := r.started(t, agentenv.Mark())
	if result := r.exec(t, s.id, "/bin/cat", "/etc/hostname"); result.Code != 0 {
		t.Fatalf("exec: %s", result)
	}
	known := r.agent.Container(t, s.id)
	if known.GetExecs() != before.GetExecs()+1 || len(known.GetRecentExecs()) != 1 || known.GetRecentExecs()[0].GetProgram() != "/bin/cat" {
		t.Errorf("known as %v", known)
	}
}

// dockerKnown: what Docker alone knows of a container, the agent knows too, and
// policies select by it from the first program on and after docker rename.
func dockerKnown(t *testing.T, r *rig) {
	namesKnown(t, r)
	const service = "com.docker.compose.service"
	first, second := agentenv.Mark(), agentenv.Mark()
	for key, value := range map[string]string{service: first, "name": second} {
		r.agent.Policy(t, strings.ReplaceAll(agentenv.KillShadow(value, value), agentenv.MarkKey, key))
		t.Cleanup(func() { r.agent.Delete(t, value) })
	}
	labels := map[string]string{"com.docker.compose.project": "shop", service: first}
	s := r.named(t, container{name: agentenv.Mark(), mark: agentenv.Mark(), labels: labels, args: []string{"/bin/cat", "/etc/shadow"}})
	s.mustStart(t)
	if result := r.wait(t, s.id); result.Code != killed {
		t.Errorf("a service of compose: want exit status %d: %s", killed, result)
	}

	labels[service] = "other"
	s = r.named(t, container{name: agentenv.Mark(), mark: agentenv.Mark(), labels: labels, args: agentenv.Waiting()})
	s.mustStart(t)
	known := s.armed(t, 0)
	if known.GetRuntime() != "docker" || known.GetImage() != imageName || known.GetLabels()["com.docker.compose.project"] != "shop" || len(known.GetPolicies()) != 0 {
		t.Errorf("known as %v", known)
	}
	must(t, "docker", "rename", s.name, second)
	wait(t, "the container has its new name", func() error {
		if known := r.agent.Container(t, s.id); known.GetName() != second || !slices.Equal(known.GetPolicies(), []string{second}) {
			return fmt.Errorf("the agent knows %v", known)
		}
		return nil
	})
	s.release(t)
	if result := r.wait(t, s.id); result.Code != killed {
		t.Errorf("renamed: want exit status %d: %s", killed, result)
	}
}

// noNRI holds that dockerd does not know the setting by which its NRI is turned on.
func noNRI(t *testing.T, _ *rig) {
	file := testenv.Dir(t) + "/daemon.json"
	if err := writeNew(file, `{"nri-opts": true}`); err != nil {
		t.Fatal(err)
	}
	result := run(t, "timeout", "20", "dockerd", "--config-file", file, "--pidfile", file+".pid", "--data-root", file+".data", "--exec-root", file+".exec",
		"--host", "unix://"+file+".sock")
	if result.Code != 1 || !strings.Contains(result.Stderr, "nri-opts") {
		t.Errorf("dockerd knows NRI: %s", result)
	}
}
