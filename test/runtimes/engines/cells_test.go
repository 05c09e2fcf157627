// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// cell is what is held of each engine with each way in.
type cell struct {
	name string
	// prove proves it; nil where only the engine's own cells can.
	prove func(t *testing.T, r *rig)
	// away: there is no agent when it begins.
	away bool
}

// Names of cells that engines may have of their own.
const (
	cellRestart     = "restart re-sealed"
	cellExec        = "exec covered"
	cellPaused      = "pause and unpause"
	cellKnown       = "names known"
	cellAgentHangs  = "agent hanging"
	cellHookMissing = "hook missing"
	cellHookHangs   = "hook hanging"
	cellPluginDies  = "plugin crashed in CreateContainer"
	cellBetween     = "gone between Create and Start"
	cellSynchronize = "created during Synchronize"
)

// cells are those of a row, in order. Those without an agent come last: it takes
// seconds to start one.
func cells() []cell {
	return []cell{
		{name: "start sealed", prove: startSealed},
		{name: "kill", prove: kill},
		{name: cellExec, prove: execCovered},
		{name: cellRestart, prove: restartSealed},
		{name: cellPaused, prove: paused},
		{name: cellKnown, prove: namesKnown},
		{name: cellAgentHangs, prove: agentHangs},
		{name: cellHookHangs, prove: hookHangs},
		{name: cellHookMissing, prove: hookMissing},
		{name: cellPluginDies},
		{name: cellSynchronize},
		{name: "agent restarted", prove: agentRestarted},
		{name: cellBetween, prove: goneBetween},
		{name: "agent down: block", prove: downBlock, away: true},
		{name: "agent down: quarantine", prove: downQuarantine, away: true},
		{name: "agent down: not since boot", prove: downNotSinceBoot, away: true},
		{name: "agent down: allow", prove: downAllow, away: true},
	}
}

// startSealed: by the kernel's own times a container is sealed before its first task.
func startSealed(t *testing.T, r *rig) {
	for mark, policies := range map[string][]string{r.selected: {r.selected}, agentenv.Mark(): nil} {
		s, known := r.started(t, mark)
		if err := agentenv.SealedFirst(known); err != nil {
			t.Errorf("mark %s: %v: %v", mark, err, known)
		}
		if !slices.Equal(known.GetPolicies(), policies) {
			t.Errorf("mark %s: known as %v", mark, known)
		}
		s.release(t)
		s.judged(t, "released", s.wait(t, s.id))
	}
}

// kill: an entrypoint that is the forbidden act itself does not survive.
func kill(t *testing.T, r *rig) {
	for _, mark := range []string{r.selected, agentenv.Mark()} {
		s := r.made(t, mark, "/bin/cat", "/etc/shadow")
		s.mustStart(t)
		s.judged(t, "entrypoint", s.wait(t, s.id))
	}
}

// execCovered: what the engine executes in a container is held to its policies.
func execCovered(t *testing.T, r *rig) {
	for _, mark := range []string{r.selected, agentenv.Mark()} {
		s, _ := r.started(t, mark)
		s.judged(t, "exec", s.exec(t, s.id, "/bin/cat", "/etc/shadow"))
		if result := s.exec(t, s.id, "/bin/cat", "/etc/hostname"); result.Code != 0 {
			t.Errorf("exec of what nobody forbids: %s", result)
		}
	}
}

// restartSealed: a container that is restarted has a new cgroup, sealed as the first.
func restartSealed(t *testing.T, r *rig) {
	engine, ok := r.engine.(restarter)
	if !ok {
		t.Fatal("the engine restarts nothing, and does not say why")
	}
	s, first := r.started(t, r.selected)
	if result := engine.restart(t, s.id); result.Code != 0 {
		t.Fatalf("restart: %s\n%s", result, s.log())
	}
	known := s.armed(t, first.GetCgroupId())
	if err := agentenv.SealedFirst(known); err != nil || known.GetSealedNs() <= first.GetArmedNs() {
		t.Errorf("%v: first %v, then %v", err, first, known)
	}
	s.judged(t, "exec", s.exec(t, s.id, "/bin/cat", "/etc/shadow"))
	s.release(t)
	s.judged(t, "released", s.wait(t, s.id))
}

// paused: a container that was frozen is as covered afterwards.
func paused(t *testing.T, r *rig) {
	engine, ok := r.engine.(pauser)
	if !ok {
		t.Fatal("the engine pauses nothing, and does not say why")
	}
	s, before := r.started(t, r.selected)
	if result := engine.pause(t, s.id); result.Code != 0 {
		t.Fatalf("pause: %s", result)
	}
	s.release(t)
	if result := engine.unpause(t, s.id); result.Code != 0 {
		t.Fatalf("unpause: %s", result)
	}
	s.judged(t, "released", s.wait(t, s.id))
	if known := s.agent.Container(t, s.id); known != nil && known.GetCgroupId() != before.GetCgroupId() {
		t.Errorf("known as %v, before as %v", known, before)
	}
}

// namesKnown: the agent calls a container as the engine does, and policies select by it.
func namesKnown(t *testing.T, r *rig) {
	name := agentenv.Mark()
	r.agent.Policy(t, strings.ReplaceAll(agentenv.KillShadow(name, name), agentenv.MarkKey, "name"))
	t.Cleanup(func() { r.agent.Delete(t, name) })
	s := r.named(t, container{name: name, mark: agentenv.Mark(), args: agentenv.Waiting()})
	s.mustStart(t)
	if known := s.armed(t, 0); known.GetName() != name || !slices.Equal(known.GetPolicies(), []string{name}) {
		t.Errorf("known as %v", known)
	}
	s.release(t)
	if result := s.wait(t, s.id); result.Code != killed {
		t.Errorf("want exit status %d: %s", killed, result)
	}
}

// agentHangs: an agent that takes calls and answers none is as good as none.
func agentHangs(t *testing.T, r *rig) {
	r.configured(t, hookSettings{deadline: "1s"})
	s := r.telltale(t)
	if err := r.agent.Hang(); err != nil {
		t.Fatal(err)
	}
	result := s.start(t, s.id)
	if err := r.agent.Resume(); err != nil {
		t.Fatal(err)
	}
	s.refused(t, result)
	r.works(t)
}

// hookHangs: a hook that does not even keep its own deadline is given up by the runtime.
func hookHangs(t *testing.T, r *rig) {
	r.configured(t, hookSettings{deadline: "2s"})
	s := r.telltale(t)
	if err := r.agent.Hang(); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stopHook() }()
	begin := time.Now()
	result := s.start(t, s.id)
	took := time.Since(begin)
	if err := errors.Join(r.agent.Resume(), <-stopped); err != nil {
		t.Error(err)
	}
	s.refused(t, result)
	if took < 3*time.Second || took > 30*time.Second {
		t.Errorf("the start took %v; the runtime is to wait a little longer than the hook's deadline: %s", took, result)
	}
	r.works(t)
}

// stopHook keeps the first hook that runs where it is until it is killed. No signal does
// that for all runtimes: crun takes a hook that is stopped for one that has ended.
func stopHook() error {
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	pids := hooks()
	for deadline := time.Now().Add(patience); len(pids) == 0; pids = hooks() {
		if time.Now().After(deadline) {
			return errors.New("no hook was run")
		}
		<-time.After(time.Millisecond)
	}
	threads, err := stopThreads(pids[0])
	if err != nil {
		return err
	}
	for _, tid := range threads { // the first one's end is told last
		if err := killedThread(tid); err != nil {
			return err
		}
	}
	return nil
}

// stopThreads stops the threads of a process, and returns them, the first one last.
func stopThreads(pid int) (threads []int, err error) {
	for {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		found := false
		for _, file := range files {
			tid, err := strconv.Atoi(filepath.Base(file))
			if err != nil || slices.Contains(threads, tid) {
				continue
			}
			if err := errors.Join(unix.PtraceSeize(tid), unix.PtraceInterrupt(tid), stopped(tid)); err != nil {
				return nil, fmt.Errorf("stop thread %d of hook %d: %w", tid, pid, err)
			}
			found, threads = true, append([]int{tid}, threads...)
		}
		if !found { // nobody is left who could start another
			return threads, nil
		}
	}
}

// stopped waits until a thread that is to stop has done so.
func stopped(tid int) error {
	status, err := next(tid)
	if err == nil && !status.Stopped() {
		err = fmt.Errorf("it ended with status %#x", status)
	}
	return err
}

// killedThread waits until a stopped thread is killed.
func killedThread(tid int) error {
	for {
		switch status, err := next(tid); {
		case err != nil:
			return fmt.Errorf("wait for the end of the hook's thread %d: %w", tid, err)
		case status.Stopped():
		case status.Signal() == unix.SIGKILL:
			return nil
		default:
			return fmt.Errorf("the hook's thread %d ended with status %#x", tid, status)
		}
	}
}

// next waits for what becomes of a traced thread next.
func next(tid int) (status unix.WaitStatus, err error) {
	for {
		if _, err = unix.Wait4(tid, &status, unix.WALL, nil); !errors.Is(err, unix.EINTR) {
			return status, err
		}
	}
}

// hooks are the processes that seal containers.
func hooks() (pids []int) {
	program, err := os.Stat(hookPath)
	if err != nil {
		return nil
	}
	files, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range files {
		// Each may fail: the process can be gone at any time.
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		info, err := os.Stat(filepath.Join(dir, "exe"))
		if err != nil || !os.SameFile(info, program) || !strings.Contains(string(line), "\x00createRuntime\x00") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// hookMissing: without the hook's program nothing starts, whatever the fail policy.
func hookMissing(t *testing.T, r *rig) {
	r.configured(t, hookSettings{failPolicy: "allow"})
	aside := hookPath + ".aside"
	s := r.telltale(t)
	if err := os.Rename(hookPath, aside); err != nil {
		t.Fatal(err)
	}
	result := s.start(t, s.id)
	if err := os.Rename(aside, hookPath); err != nil {
		t.Fatal(err)
	}
	s.refused(t, result)
	r.works(t)
}

// works holds that containers start again, sealed.
func (r *rig) works(t *testing.T) {
	t.Helper()
	s, known := r.started(t, agentenv.Mark())
	if err := agentenv.SealedFirst(known); err != nil {
		t.Errorf("afterwards: %v: %v", err, known)
	}
	s.release(t)
	s.judged(t, "afterwards", s.wait(t, s.id))
}

// agentRestarted: the next agent knows a container that runs, and what it was told of it.
func agentRestarted(t *testing.T, r *rig) {
	s, before := r.started(t, r.selected)
	r.away(t)
	r.up(t)
	known := s.takenOver(t)
	if known.GetCgroupId() != before.GetCgroupId() || known.GetName() != before.GetName() || known.GetImage() != before.GetImage() ||
		known.GetRuntime() != before.GetRuntime() {
		t.Errorf("before %v, now %v", before, known)
	}
	s.judged(t, "exec", s.exec(t, s.id, "/bin/cat", "/etc/shadow"))
	s.release(t)
	s.judged(t, "released", s.wait(t, s.id))
}

// takenOver waits until an agent that was not there as the container started has its
// policy in force for it.
func (s *subject) takenOver(t *testing.T) *boltseal.Container {
	t.Helper()
	var known *boltseal.Container
	wait(t, "the container is sealed late", func() error {
		known = s.agent.Container(t, s.id)
		if known.GetState() != boltseal.ContainerState_CONTAINER_STATE_LATE || !slices.Equal(known.GetPolicies(), []string{s.selected}) {
			return fmt.Errorf("the agent knows %v", known)
		}
		return nil
	})
	return known
}

// goneBetween: a container that was created under the agent does not start without it.
func goneBetween(t *testing.T, r *rig) {
	s := r.telltale(t)
	r.away(t)
	s.refused(t, s.start(t, s.id))
}

func downBlock(t *testing.T, r *rig) {
	s := r.telltale(t)
	s.refused(t, s.start(t, s.id))
	if log := r.log(); !strings.Contains(log, `"decision":"block"`) {
		t.Errorf("the hook says %s", log)
	}
}

// downQuarantine: it acts as block while there is no agent to hold the container.
func downQuarantine(t *testing.T, r *rig) {
	r.configured(t, hookSettings{failPolicy: "quarantine"})
	s := r.telltale(t)
	s.refused(t, s.start(t, s.id))
	if log := r.log(); !strings.Contains(log, "fail policy quarantine") {
		t.Errorf("the hook says %s", log)
	}
}

// downNotSinceBoot: before the agent has been up for the first time another answer
// holds than later.
func downNotSinceBoot(t *testing.T, r *rig) {
	r.configured(t, hookSettings{notSinceBoot: "allow"})
	late := r.telltale(t)
	late.refused(t, late.start(t, late.id))
	booted := filepath.Join(runDir, "booted")
	if err := os.Rename(booted, booted+".aside"); err != nil {
		t.Fatal(err)
	}
	early := r.telltale(t)
	result := early.start(t, early.id)
	if err := os.Rename(booted+".aside", booted); err != nil {
		t.Fatal(err)
	}
	early.admitted(t, result.Code == 0, result.String())
}

// downAllow: a container that started without the agent is sealed late, as soon as
// there is one, and told as late.
func downAllow(t *testing.T, r *rig) {
	r.configured(t, hookSettings{failPolicy: "allow"})
	s := r.telltale(t)
	result := s.start(t, s.id)
	s.admitted(t, result.Code == 0, result.String())
	r.up(t)
	s.takenOver(t)
	s.judged(t, "exec", s.exec(t, s.id, "/bin/cat", "/etc/shadow"))
}

// admitted holds that a container runs.
func (s *subject) admitted(t *testing.T, started bool, said string) {
	t.Helper()
	if !started {
		t.Fatalf("it was not started: %s; the hook says %s", said, s.log())
	}
	wait(t, "its entrypoint runs", func() error {
		if !s.ran() {
			return errors.New("it has left no file")
		}
		return nil
	})
}
