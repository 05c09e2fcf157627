// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// TestRecall: an agent that takes the place of one that was stopped or killed knows the
// containers that run, whatever their cgroups are called, with all that the last one was
// told; and none that has ended meanwhile.
func TestRecall(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	for name, leave := range map[string]func(*agentenv.Agent) error{
		"stopped": func(a *agentenv.Agent) error { return a.Stop() },
		"killed":  func(a *agentenv.Agent) error { return a.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			dir := testenv.Dir(t)
			agent := agentenv.Start(t, testenv.AgentOptions{Dir: dir})
			s := newStarter(t, agent)
			runc := s.runc
			var all []*testenv.Container
			for range 3 { // the first stays, the next ends without an agent, the last with one
				c := testenv.Bundle(t, s.spec(true, testenv.ActorPath, "sleep"))
				if result := runc.RunDetached(t.Context(), c); result.Code != 0 {
					t.Fatal(result)
				}
				all = append(all, c)
			}
			before := agent.Container(t, all[0].ID)
			ends := func(c *testenv.Container) {
				if result := runc.Delete(t.Context(), c); result.Code != 0 {
					t.Fatal(result)
				}
			}
			ends(all[2])
			testenv.Eventually(t, 10*time.Second, "the ended container's file is gone", func() error { return written(dir, all, all[:2]...) })
			if err := leave(agent); err != nil {
				t.Fatal(err)
			}
			ends(all[1])
			agent = agentenv.Start(t, testenv.AgentOptions{Dir: dir})
			agent.Policy(t, agentenv.KillShadow("recall", s.mark))
			if err := written(dir, all, all[0]); err != nil {
				t.Error(err)
			}
			known := agent.Container(t, all[0].ID)
			if known.GetState() != boltseal.ContainerState_CONTAINER_STATE_LATE || known.GetSealedBy() != boltseal.SealedBy_SEALED_BY_ADOPTION ||
				known.GetCgroupId() != before.GetCgroupId() || known.GetTasks() == 0 || !slices.Equal(known.GetPolicies(), []string{"recall"}) {
				t.Errorf("before %s, now %s", before, known)
			}
			if known.GetName() != before.GetName() || known.GetRuntime() != before.GetRuntime() || !maps.Equal(known.GetAnnotations(), before.GetAnnotations()) {
				t.Errorf("before %s, now %s", before, known)
			}
			for _, ended := range all[1:] {
				if known := agent.Container(t, ended.ID); known != nil {
					t.Errorf("ended, and known as %s", known)
				}
			}
			result := runc.Exec(t.Context(), all[0], "/bin/cat", "/etc/shadow")
			if result.Code == 0 || leaked(result.Stdout) || signals(t, agent, "recall") != 1 {
				t.Errorf("not killed: %s", result)
			}
		})
	}
}

// written holds that of some containers those beside an agent's socket are written down
// that are wanted.
func written(dir string, of []*testenv.Container, want ...*testenv.Container) error {
	files, err := filepath.Glob(filepath.Join(dir, "containers", "*"))
	if err != nil {
		return err
	}
	var texts strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // others' containers come and go
			return err
		}
		texts.Write(text)
	}
	for _, c := range of {
		if is := strings.Contains(texts.String(), c.ID); is != slices.Contains(want, c) {
			err = errors.Join(err, fmt.Errorf("container %s is written down: %v", c.ID, is))
		}
	}
	return err
}
