// SPDX-License-Identifier: Apache-2.0

//go:build linux

package runtimes

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// run is a container that a runtime's command runs in the foreground.
type run struct {
	id   string
	done chan struct{}
	// result is the command's, once done is closed.
	result testenv.Result
}

// background runs a command; the test does not end before it.
func background(t *testing.T, id string, do func() testenv.Result) *run {
	t.Helper()
	r := &run{id: id, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.result = do()
	}()
	t.Cleanup(func() { <-r.done })
	return r
}

// wait returns how the command ended.
func (r *run) wait(t *testing.T) testenv.Result {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(patience):
		t.Fatalf("container %s has not ended within %v", r.id, patience)
	}
	return r.result
}

// runFunc runs a container that has the mark and the hook, with the directory
// shared at /tmp.
type runFunc func(t *testing.T, hook *agentenv.Hook, mark, shared string, args []string) *run

// prove holds what every runtime has to keep, by its own way in: a container is
// sealed before its first exec, its policy kills in it and not beside it, and
// without an agent it does not start.
func prove(t *testing.T, agent *agentenv.Agent, start runFunc) {
	t.Helper()
	mark, hook := agentenv.Mark(), agent.Hook(t)
	agent.Policy(t, agentenv.KillShadow(mark, mark))
	for _, test := range []struct {
		name, mark string
		status     int
		policies   []string
	}{{"selected", mark, 137, []string{mark}}, {"neighbour", agentenv.Mark(), 0, nil}} {
		shared := testenv.Dir(t)
		r := start(t, hook, test.mark, shared, agentenv.Waiting())
		known := waitArmed(t, agent, r.id)
		if err := agentenv.SealedFirst(known); err != nil {
			t.Errorf("%s: %v: %v", test.name, err, known)
		}
		if known.GetAnnotations()[agentenv.MarkKey] != test.mark || !slices.Equal(known.GetPolicies(), test.policies) {
			t.Errorf("%s: known as %v", test.name, known)
		}
		agentenv.Release(t, shared)
		result := r.wait(t)
		if leaked := strings.Contains(result.Stdout, testenv.Secret); result.Code != test.status || leaked != (test.status == 0) {
			t.Errorf("%s: want exit status %d: %s", test.name, test.status, result)
		}
	}
	away := agentenv.NewHook(t, agentenv.HookOptions{Dir: testenv.Dir(t), FailPolicy: "block"})
	shared := testenv.Dir(t)
	result := start(t, away, mark, shared, []string{"/bin/touch", "/tmp/ran"}).wait(t)
	_, err := os.Stat(filepath.Join(shared, "ran"))
	if result.Code == 0 || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(away.Lines(t), `"decision":"block"`) {
		t.Errorf("started without an agent under the fail policy block (%v): %s\n%s", err, result, away.Lines(t))
	}
}
