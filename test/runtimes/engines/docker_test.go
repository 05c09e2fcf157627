// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
)

func dockerWays() []way {
	return []way{{engine: "docker", by: "wrapper", open: openDocker, plain: plainDocker}}
}

// docker is dockerd with everything at its usual place.
type docker struct {
	version string
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
	daemon := testenv.Daemon(t, testenv.Dir(t), "dockerd")
	d := &docker{}
	wait(t, "dockerd answers", func() error {
		result := run(t, "docker", "version", "--format", "{{.Server.Version}}")
		if result.Code != 0 {
			return errors.New(result.Stderr + daemon.Log())
		}
		d.version = strings.TrimSpace(result.Stdout)
		return nil
	})
	must(t, "docker", "load", "--quiet", "--input", imageArchive(t))
	return d
}

func (d *docker) flags() []string { return nil }

// reload does nothing: install tells dockerd itself, which reads its file again when
// it gets round to it.
func (d *docker) reload(t *testing.T) {
	t.Helper()
	registered := run(t, "grep", "-q", "boltseal", "/etc/docker/daemon.json").Code == 0
	wait(t, "dockerd has read its file", func() error {
		name := strings.TrimSpace(must(t, "docker", "info", "--format", "{{.DefaultRuntime}}"))
		if (name == "boltseal") != registered {
			return fmt.Errorf("its default runtime is %s", name)
		}
		return nil
	})
}

func (d *docker) doctor() []string { return nil }

func (d *docker) title() string { return d.version }

func (d *docker) create(t *testing.T, c container) string {
	t.Helper()
	args := []string{
		"docker", "create", "--name", c.name, "--network=none", "--volume", c.shared + ":/tmp",
		"--label", "boltseal.test/mark=" + c.mark,
	}
	for key, value := range c.labels {
		args = append(args, "--label", key+"="+value)
	}
	if c.plain {
		args = append(args, "--runtime=runc")
	}
	return strings.TrimSpace(must(t, append(append(args, imageName), c.args...)...))
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
		cellPluginDies:  {because: because, check: noNRI},
		cellSynchronize: {because: because, check: noNRI},
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
