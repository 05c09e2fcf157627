// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
	"github.com/boltseal/boltseal/test/testenv/probe"
)

// demo runs a command of boltseal that has containers of its own, with a directory
// of its own for everything temporary.
type demo struct {
	// bin may be empty: for a command that starts no program of the project.
	program, bin, tmp string
	// name begins the names of what it makes.
	name string
	args []string
}

func newDemo(t *testing.T) demo {
	t.Helper()
	return newStage(t, "boltseal-demo", "demo")
}

func newStage(t *testing.T, name string, args ...string) demo {
	t.Helper()
	d := demo{program: testenv.Binary(t, "./agent/cmd/boltseal"), bin: testenv.Dir(t), tmp: testenv.Dir(t), name: name, args: args}
	for name, pkg := range map[string]string{"boltseald": "./agent/cmd/boltseald", "boltseal-hook": "./hook"} {
		if err := os.Symlink(testenv.Binary(t, pkg), filepath.Join(d.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func (d demo) command(t *testing.T) (cmd *exec.Cmd, out *bytes.Buffer) {
	t.Helper()
	out = &bytes.Buffer{}
	args := slices.Clone(d.args)
	if d.bin != "" {
		args = append(args, "--bin-dir", d.bin)
	}
	cmd = exec.CommandContext(t.Context(), d.program, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+d.tmp)
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

// traces lists what demos have left on this machine.
func (d demo) traces() (left []string, err error) {
	roots, err := probe.CgroupRoots()
	if err != nil {
		return nil, err
	}
	for _, root := range roots {
		cgroups, err := filepath.Glob(filepath.Join(root, d.name+"-*"))
		if err != nil {
			return nil, err
		}
		left = append(left, cgroups...)
	}
	files, err := os.ReadDir(d.tmp)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		left = append(left, filepath.Join(d.tmp, f.Name()))
	}
	mounts, err := probe.Mounts()
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		if strings.HasPrefix(m.Point, d.tmp) {
			left = append(left, "mount "+m.Point)
		}
	}
	pins, err := filepath.Glob("/sys/fs/bpf/*boltseal*")
	if err != nil {
		return nil, err
	}
	return append(append(left, pins...), d.processes()...), nil
}

// processes lists those that carry the demo's directory in their command line or
// environment, as all that it starts do.
func (d demo) processes() (found []string) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if bytes.Contains(cmdline, []byte(d.tmp)) || bytes.Contains(environ, []byte("TMPDIR="+d.tmp)) {
			found = append(found, fmt.Sprintf("process %s %q", filepath.Base(dir), cmdline))
		}
	}
	return found
}

// nothingLeft compares with what was there before; other demos on this machine
// may be under way, and end.
func (d demo) nothingLeft(t *testing.T, before []string) {
	t.Helper()
	testenv.Eventually(t, 10*time.Second, "the demo has left nothing behind", func() error {
		left, err := d.traces()
		left = slices.DeleteFunc(left, func(l string) bool { return slices.Contains(before, l) })
		if err == nil && len(left) > 0 {
			err = errors.New(strings.Join(left, "\n"))
		}
		return err
	})
}

// TestDemo runs it and reads what a person would.
func TestDemo(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	d := newDemo(t)
	before, err := d.traces()
	if err != nil {
		t.Fatal(err)
	}
	cmd, out := d.command(t)
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("boltseal demo: %v\n%s", err, out)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("the demo took %s", took)
	}
	d.nothingLeft(t, before)

	text := out.String()
	containers := strings.Split(text, "\ncontainer ")
	if len(containers) != 3 || strings.Contains(text, "NO  ") {
		t.Fatalf("not two containers of which everything holds:\n%s", text)
	}
	seen := map[uint64]bool{}
	for _, c := range containers[1:] {
		id := uint64(number(t, c, `cgroup +id (\d+),`))
		sealed, task, exec := number(t, c, `sealed +([\d.]+) s`), number(t, c, `first task +([\d.]+) s`), number(t, c, `first exec +([\d.]+) s`)
		if seen[id] || !(0 < sealed && sealed < task && task < exec) {
			t.Errorf("cgroup %d of %v, sealed at %f, first task at %f, first exec at %f", id, seen, sealed, task, exec)
		}
		seen[id] = true
	}
	for _, want := range []string{
		"ok  read /etc/shadow: killed by policy demo-no-shadow-read at syscalls/sys_enter_openat, exit status 137 (SIGKILL)\n",
		"ok  read /etc/shadow: done, exit status 0\n",
		"ok  read the containers' /etc/shadow: done, exit status 0\n",
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("not once: %s\n%s", want, text)
		}
	}
}

func number(t *testing.T, text, pattern string) float64 {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("nothing matches %s in\n%s", pattern, text)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestDemoInterrupted ends demos by signals at random moments from their start to
// their end, and looks for what they leave behind.
func TestDemoInterrupted(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	newDemo(t).interruptEverywhere(t, 12)
}

// interruptEverywhere ends so many runs, once in each part of their time.
func (d demo) interruptEverywhere(t *testing.T, times int) {
	t.Helper()
	before, err := d.traces()
	if err != nil {
		t.Fatal(err)
	}
	whole, _ := d.command(t)
	start := time.Now()
	if err := whole.Run(); err != nil {
		t.Fatalf("%s: %v", d.name, err)
	}
	length := time.Since(start)

	signals := []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP}
	for i := range times {
		signal := signals[i%len(signals)]
		// Once in each part, so that all of them get their turn.
		after := time.Duration((float64(i) + rand.Float64()) / float64(times) * float64(length))
		d.interrupt(t, after, signal, before)
	}
}

func (d demo) interrupt(t *testing.T, after time.Duration, signal unix.Signal, before []string) {
	t.Helper()
	cmd, out := d.command(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-time.After(after):
		// People press the key again; that must not cut the cleanup short.
		_ = cmd.Process.Signal(signal)
		time.AfterFunc(20*time.Millisecond, func() { _ = cmd.Process.Signal(signal) })
	case err := <-ended:
		ended <- err
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s after %s: the demo goes on:\n%s", signal, after, out)
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	// It may die by the signal before it can take it, and may be done already.
	fine := ok && (status.Signaled() && status.Signal() == signal ||
		status.Exited() && (status.ExitStatus() == 128+int(signal) || status.ExitStatus() == 0))
	if !fine {
		t.Errorf("%s after %s: %s:\n%s", unix.SignalName(signal), after, cmd.ProcessState, out)
	}
	t.Logf("%s after %s: %s", unix.SignalName(signal), after.Round(time.Millisecond), cmd.ProcessState)
	d.nothingLeft(t, before)
}
