// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// Where the agent and its hooks are in the room: where they are by default.
const (
	runDir   = "/run/boltseal"
	settings = "/etc/boltseal/hook.json"
	hookLog  = runDir + "/hook.log"
)

// rig is an engine, and the agent that it asks.
type rig struct {
	engine
	way way
	// selected is the mark that the policy selects which kills for reading /etc/shadow.
	selected string
	// agent is up, or nil.
	agent *agentenv.Agent

	t *testing.T // of all cells
}

// newRig starts an agent and the engine.
func newRig(t *testing.T, w way) *rig {
	t.Helper()
	r := &rig{way: w, selected: agentenv.Mark(), t: t}
	installPrograms(t)
	r.configure(t, hookSettings{})
	t.Cleanup(func() {
		if err := os.RemoveAll(filepath.Dir(settings)); err != nil {
			t.Error(err)
		}
	})
	r.up(t)
	r.engine = w.open(t)
	return r
}

// rigOf is an agent and an engine with its concrete type, for what it alone has.
func rigOf[E engine](t *testing.T, w way) (*rig, E) {
	t.Helper()
	r := newRig(t, w)
	e, ok := r.engine.(E)
	if !ok {
		t.Fatalf("opened %T", r.engine)
	}
	return r, e
}

// up has an agent run, and the policy in force.
func (r *rig) up(t *testing.T) {
	t.Helper()
	if r.agent != nil {
		return
	}
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.agent = agentenv.Start(r.t, testenv.AgentOptions{Dir: runDir})
	r.agent.Policy(t, agentenv.KillShadow(r.selected, r.selected))
}

// away has no agent run.
func (r *rig) away(t *testing.T) {
	t.Helper()
	if r.agent == nil {
		return
	}
	if err := r.agent.Stop(); err != nil {
		t.Fatal(err)
	}
	r.agent = nil
}

// hookSettings are those of the hook that tests change.
type hookSettings struct {
	deadline, failPolicy, notSinceBoot string
}

// configure writes the hook's settings, and begins its log anew.
func (r *rig) configure(t *testing.T, s hookSettings) {
	t.Helper()
	if s.deadline == "" {
		s.deadline = "20s" // which a busy machine keeps
	}
	policy := map[string]string{"default": "block"}
	for key, value := range map[string]string{"default": s.failPolicy, "not_since_boot": s.notSinceBoot} {
		if value != "" {
			policy[key] = value
		}
	}
	text, err := json.Marshal(map[string]any{"deadline": s.deadline, "log_file": hookLog, "fail_policy": policy})
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(settings), 0o755), os.WriteFile(settings, text, 0o600))
	}
	if err == nil {
		if err = os.Remove(hookLog); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// configured changes the hook's settings until the test ends.
func (r *rig) configured(t *testing.T, s hookSettings) {
	t.Helper()
	r.configure(t, s)
	t.Cleanup(func() { r.configure(t, hookSettings{}) })
}

// log is what hooks have written since they were configured.
func (r *rig) log() string {
	text, err := os.ReadFile(hookLog)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// subject is a container of a test.
type subject struct {
	*rig
	container
	id string
}

// made creates a container, which is removed when the test ends.
func (r *rig) made(t *testing.T, mark string, args ...string) *subject {
	t.Helper()
	return r.named(t, container{name: agentenv.Mark(), mark: mark, args: args})
}

// started makes a container and starts it, and returns when its entrypoint runs, with
// what the agent knows of it then.
func (r *rig) started(t *testing.T, mark string) (*subject, *boltseal.Container) {
	t.Helper()
	s := r.made(t, mark, agentenv.Waiting()...)
	s.mustStart(t)
	return s, s.armed(t, 0)
}

func (s *subject) mustStart(t *testing.T) {
	t.Helper()
	if result := s.start(t, s.id); result.Code != 0 || result.Err != nil {
		t.Fatalf("start: %s\n%s", result, s.log())
	}
}

// armed waits until the entrypoint is executed, in a cgroup that is not the given one.
func (s *subject) armed(t *testing.T, before uint64) *boltseal.Container {
	t.Helper()
	var known *boltseal.Container
	wait(t, "the container's entrypoint is executed", func() error {
		known = s.agent.Container(t, s.id)
		if known.GetState() != boltseal.ContainerState_CONTAINER_STATE_ARMED || known.GetCgroupId() == before {
			return fmt.Errorf("the agent knows %v", known)
		}
		return nil
	})
	return known
}

// release lets the container do what it is for.
func (s *subject) release(t *testing.T) {
	t.Helper()
	agentenv.Release(t, s.shared)
}

// killed is the exit status of what was killed.
const killed = 128 + int(unix.SIGKILL)

// judged holds that reading /etc/shadow killed the container that the policy selects,
// and no other.
func (s *subject) judged(t *testing.T, what string, result testenv.Result) {
	t.Helper()
	leaked := strings.Contains(result.Stdout, testenv.Secret)
	if s.mark == s.selected {
		if result.Code != killed || leaked {
			t.Errorf("%s: want exit status %d and no secret: %s", what, killed, result)
		}
	} else if result.Code != 0 || !leaked {
		t.Errorf("%s: want a neighbour that is left alone: %s", what, result)
	}
}

// refused holds that a container was refused and that nothing of it ran: its
// entrypoint has to be that of [rig.telltale].
func (s *subject) refused(t *testing.T, result testenv.Result) {
	t.Helper()
	if result.Code == 0 && result.Err == nil {
		t.Errorf("it was started; the hook says %s", s.log())
	}
	if s.ran() {
		t.Errorf("it ran: %s; the hook says %s", result, s.log())
	}
}

// telltale makes a container whose entrypoint leaves a file.
func (r *rig) telltale(t *testing.T) *subject {
	t.Helper()
	return r.made(t, r.selected, "/bin/sh", "-c", "touch /tmp/ran; exec sleep 1000")
}

func (s *subject) ran() bool {
	_, err := os.Stat(filepath.Join(s.shared, "ran"))
	return err == nil
}

// named creates a container that is described in full but for what it shares.
func (r *rig) named(t *testing.T, c container) *subject {
	t.Helper()
	c.shared = testenv.Dir(t)
	s := &subject{rig: r, container: c}
	s.id = r.create(t, c)
	t.Cleanup(func() { r.remove(t, s.id) })
	return s
}
