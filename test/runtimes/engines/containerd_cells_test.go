// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

func (c *crd) own() map[string]own {
	cells := map[string]own{cellRestart: {prove: c.madeAnew}}
	if !c.plugin {
		const because = "no plugin here"
		for _, name := range []string{cellPluginDies, cellSynchronize} {
			cells[name] = own{because: because, check: noPlugin}
		}
		return cells
	}
	cells[cellAgentHangs] = own{prove: c.pluginAnswers}
	cells[cellSynchronize] = own{prove: c.whileItRegisters}
	cells[cellBetween] = own{prove: c.pluginDiesBetween}
	cells[cellPluginDies] = own{prove: c.pluginDiesInCreate}
	cells[cellBothDie] = own{prove: c.bothDieInCreate}
	if len(c.install) == 0 {
		cells[cellBothDie] = own{
			because: "containerd fails open: it creates what it cannot ask for, and nothing has added the hook; see NRI and wrapper, NRI and base spec",
			check:   c.bothDieAlone,
		}
	}
	return cells
}

const cellBothDie = "plugin and standby crashed in CreateContainer"

// more are cells that no other engine has.
func (c *crd) more() []cell {
	cells := []cell{{name: "pod's own container", prove: c.pods}, {name: "containerd restarted", prove: c.rebooted}}
	if c.plugin {
		cells = append(cells, cell{name: "plugin dropped", prove: c.dropped}, cell{name: cellBothDie})
	}
	return cells
}

func noPlugin(t *testing.T, _ *rig) {
	if all := plugins(t); len(all) > 0 {
		t.Errorf("plugins: %v", all)
	}
}

// madeAnew: what the CRI has for a restart is another container of the same name.
func (c *crd) madeAnew(t *testing.T, r *rig) {
	first, before := r.started(t, r.selected)
	first.release(t)
	first.judged(t, "first", c.wait(t, first.id))
	again := *first
	again.shared = testenv.Dir(t)
	again.id = c.anew(t, again.container, 1)
	again.mustStart(t)
	known := again.armed(t, before.GetCgroupId())
	if err := agentenv.SealedFirst(known); err != nil || again.id == first.id || known.GetName() != first.name {
		t.Errorf("%v: first %v, then %v", err, before, known)
	}
	again.release(t)
	again.judged(t, "second", c.wait(t, again.id))
}

// pluginAnswers: while the agent hangs the plugin answers in time, or containerd would
// drop it and start what follows without asking.
func (c *crd) pluginAnswers(t *testing.T, r *rig) {
	pid, _ := onePlugin(t)
	agentHangs(t, r)
	if err := r.agent.Hang(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	id, createErr := c.ask(container{name: agentenv.Mark(), mark: r.selected, shared: testenv.Dir(t), args: agentenv.Waiting()}, 0)
	took := time.Since(begin)
	if err := errors.Join(r.agent.Resume(), createErr); err != nil {
		t.Fatal(err)
	}
	c.remove(t, id)
	if took < time.Second {
		t.Errorf("created after %v: the plugin was not asked", took)
	}
	s, known := r.started(t, r.selected)
	if is, _ := onePlugin(t); is != pid || known.GetSealedBy() != boltseal.SealedBy_SEALED_BY_EXPECTED_PATH {
		t.Errorf("the plugin was dropped: known as %v", known)
	}
	s.release(t)
	s.judged(t, "afterwards", c.wait(t, s.id))
}

// connections counts how often a plugin says that it is connected.
func (r *rig) connections() int { return strings.Count(r.log(), `"msg":"connected"`) }

// takenOver waits until another plugin is connected than before.
func (r *rig) takenOver(t *testing.T, before int) {
	t.Helper()
	wait(t, "another plugin is connected", func() error {
		if r.connections() <= before {
			return errors.New(r.log())
		}
		return nil
	})
	onePlugin(t)
}

// endPlugins kills the plugin and its standby: containerd starts none again.
func endPlugins(t *testing.T) {
	t.Helper()
	plugin, standby := onePlugin(t)
	end(t, standby)
	end(t, plugin)
}

// back has containerd start a plugin again, and holds that all is as before.
func (c *crd) back(t *testing.T, r *rig) {
	t.Helper()
	r.up(t)
	c.reboot(t, false)
	onePlugin(t)
	r.works(t)
}

// killedInCreate creates a container, and has the plugin killed while containerd waits
// for its answer about it.
func (c *crd) killedInCreate(t *testing.T, r *rig, kill func(*testing.T)) *subject {
	t.Helper()
	onePlugin(t)
	if err := r.agent.Hang(); err != nil {
		t.Fatal(err)
	}
	s := &subject{rig: r, container: container{
		name: agentenv.Mark(), mark: r.selected, shared: testenv.Dir(t), args: agentenv.Waiting(),
	}}
	created := make(chan error, 1)
	go func() {
		var err error
		s.id, err = c.ask(s.container, 0)
		created <- err
	}()
	select {
	case err := <-created:
		t.Fatalf("created without the agent's answer: %v", err)
	case <-time.After(500 * time.Millisecond): // of the 1.5 s that the plugin has
	}
	kill(t)
	if err := errors.Join(<-created, r.agent.Resume()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.remove(t, s.id) })
	return s
}

// pluginDiesInCreate: nothing has added the hook, but the standby has the last word.
func (c *crd) pluginDiesInCreate(t *testing.T, r *rig) {
	before := r.connections()
	s := c.killedInCreate(t, r, func(t *testing.T) {
		t.Helper()
		plugin, _ := onePlugin(t)
		end(t, plugin)
	})
	r.takenOver(t, before)
	s.mustStart(t)
	s.confirmed(t)
	c.back(t, r)
}

// confirmed holds that a container is sealed in time and by name.
func (s *subject) confirmed(t *testing.T) {
	t.Helper()
	known := s.armed(t, 0)
	if err := agentenv.SealedFirst(known); err != nil || !slices.Equal(known.GetPolicies(), []string{s.selected}) {
		t.Errorf("%v: known as %v", err, known)
	}
	s.release(t)
	s.judged(t, "released", s.wait(t, s.id))
}

// bothDieAlone holds that NRI alone fails open: the container has no hook that would
// refuse it. An agent that is there has often heard of it before the plugin died.
func (c *crd) bothDieAlone(t *testing.T, r *rig) {
	s := c.killedInCreate(t, r, endPlugins)
	r.away(t)
	result := c.start(t, s.id)
	if log := r.log(); result.Code != 0 || strings.Contains(log, s.id) {
		t.Errorf("NRI alone does not fail open here: %s; the hooks say %s", result, log)
	}
	s.release(t)
	if result := c.wait(t, s.id); result.Code != 0 {
		t.Errorf("NRI alone does not fail open here: %s", result)
	}
	c.back(t, r)
}

// bothDieInCreate: the hook that is there without a plugin seals the container, and
// refuses it when the agent is away.
func (c *crd) bothDieInCreate(t *testing.T, r *rig) {
	s := c.killedInCreate(t, r, endPlugins)
	s.mustStart(t)
	s.confirmed(t)
	c.back(t, r)
	s = c.killedInCreate(t, r, endPlugins)
	r.away(t)
	s.release(t)
	if result := c.start(t, s.id); result.Code == 0 || !strings.Contains(result.Stderr, "boltseal") {
		t.Errorf("started without an agent: %s", result)
	}
	if result := c.wait(t, s.id); strings.Contains(result.Stdout, testenv.Secret) {
		t.Errorf("it ran: %s", result)
	}
	c.back(t, r)
}

// pluginDiesBetween: the hook that the plugin has added outlives it.
func (c *crd) pluginDiesBetween(t *testing.T, r *rig) {
	s := r.made(t, r.selected, agentenv.Waiting()...)
	refused := r.telltale(t)
	endPlugins(t)
	s.mustStart(t)
	s.confirmed(t)
	r.away(t)
	refused.refused(t, c.start(t, refused.id))
	c.back(t, r)
}

// whileItRegisters: of containers that are made while a plugin registers none stays
// unknown to the agent, and those that started unasked are told as late.
func (c *crd) whileItRegisters(t *testing.T, r *rig) {
	endPlugins(t)
	const rounds, each = 5, 8
	late := 0
	for round := range rounds {
		var subjects []*subject
		for range each {
			subjects = append(subjects, &subject{rig: r, container: container{
				name: agentenv.Mark(), mark: r.selected, shared: testenv.Dir(t), args: agentenv.Waiting(),
			}})
		}
		if err := c.makeAll(t, subjects[:1]); err != nil { // before there is a plugin
			t.Fatal(err)
		}
		made := make(chan error, 1)
		go func() { made <- c.makeAll(t, subjects[1:]) }()
		<-time.After(time.Duration(round) * 100 * time.Millisecond) // some are created, some have started
		plugin := testenv.Daemon(t, testenv.Dir(t), binDir+"/boltseal-nri")
		if err := <-made; err != nil {
			t.Fatalf("%v\n%s", err, plugin.Log())
		}
		for _, s := range subjects {
			late += s.takenIn(t)
			s.release(t)
			s.judged(t, "released", c.wait(t, s.id))
			c.remove(t, s.id)
		}
		plugin.Stop(t)
	}
	t.Logf("%d of %d were late", late, rounds*each)
	if alone := len(c.install) == 0; alone && late < rounds || late == rounds*each || !alone && late > 0 {
		t.Errorf("%d of %d were late", late, rounds*each)
	}
	c.back(t, r)
}

// makeAll creates and starts containers, four at a time.
func (c *crd) makeAll(t *testing.T, all []*subject) error {
	t.Helper()
	var group errgroup.Group
	group.SetLimit(4)
	for _, s := range all {
		group.Go(func() error {
			var err error
			if s.id, err = c.ask(s.container, 0); err != nil {
				return err
			}
			if result := c.start(t, s.id); result.Code != 0 {
				return errors.New(result.String())
			}
			return nil
		})
	}
	return group.Wait()
}

// takenIn waits until the policy is in force for the container, and returns 1 if that
// was late.
func (s *subject) takenIn(t *testing.T) (late int) {
	t.Helper()
	wait(t, "the container is known", func() error {
		known := s.agent.Container(t, s.id)
		switch {
		case !slices.Equal(known.GetPolicies(), []string{s.selected}):
		case known.GetState() == boltseal.ContainerState_CONTAINER_STATE_LATE:
			late = 1
			return nil
		case known.GetState() == boltseal.ContainerState_CONTAINER_STATE_ARMED:
			return agentenv.SealedFirst(known)
		}
		return fmt.Errorf("the agent knows %v", known)
	})
	return late
}

// dropped: a plugin that did not answer in time, and that containerd asks nothing any
// more, is replaced if containerd has killed it, as 2 does with those that it has
// started, and else comes back by itself.
func (c *crd) dropped(t *testing.T, r *rig) {
	for _, launched := range []bool{true, false} {
		before := r.connections()
		pid, _ := onePlugin(t)
		if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		id, err := c.ask(container{name: agentenv.Mark(), mark: agentenv.Mark(), shared: testenv.Dir(t), args: agentenv.Waiting()}, 0)
		_ = unix.Kill(pid, unix.SIGCONT) // it may have ended
		if err != nil {
			t.Fatal(err)
		}
		c.remove(t, id)
		r.takenOver(t, before)
		kills := launched && !strings.HasPrefix(c.version, "1.")
		if is, _ := onePlugin(t); (is != pid) != kills {
			t.Errorf("launched is %v: the plugin was %d and is %d", launched, pid, is)
		}
		s, known := r.started(t, r.selected)
		if known.GetSealedBy() != boltseal.SealedBy_SEALED_BY_EXPECTED_PATH {
			t.Errorf("the plugin is not asked: known as %v", known)
		}
		s.release(t)
		s.judged(t, "afterwards", c.wait(t, s.id))
	}
	c.back(t, r)
}

// rebooted: containers that run go on as they were, and containerd's next plugin takes
// the place of the last.
func (c *crd) rebooted(t *testing.T, r *rig) {
	for _, kill := range []bool{false, true} {
		s, before := r.started(t, r.selected)
		c.reboot(t, kill)
		if c.plugin {
			onePlugin(t)
		}
		if known := r.agent.Container(t, s.id); known.GetState() != boltseal.ContainerState_CONTAINER_STATE_ARMED ||
			known.GetCgroupId() != before.GetCgroupId() || !slices.Equal(known.GetPolicies(), before.GetPolicies()) {
			t.Errorf("before %v, afterwards %v", before, known)
		}
		s.release(t)
		s.judged(t, "released", c.wait(t, s.id))
		r.works(t)
	}
}

// pods: each has a container that holds a pod open. The wrapper seals it in time, NRI as
// containerd tells of it: 1.7 before its program runs, 2 after that.
func (c *crd) pods(t *testing.T, r *rig) {
	p, err := c.run(t, podConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "the pod's own container is known", func() error {
		known := r.agent.Container(t, p.id)
		if known == nil {
			return errors.New("it is not")
		}
		inTime := agentenv.SealedFirst(known)
		named := known.GetPod().GetName() == p.name
		switch {
		case slices.Contains(c.install, "--wrapper"), c.plugin && strings.HasPrefix(c.version, "1.7"):
			if inTime != nil || !named {
				return fmt.Errorf("%w: %v", inTime, known)
			}
		case c.plugin:
			if known.GetState() != boltseal.ContainerState_CONTAINER_STATE_LATE || !named {
				return fmt.Errorf("known as %v", known)
			}
		default: // a base spec is not for pods' own containers
			if known.GetSealedBy() != boltseal.SealedBy_SEALED_BY_RUNTIME_PATTERN || named {
				return fmt.Errorf("known as %v", known)
			}
		}
		return nil
	})
}
