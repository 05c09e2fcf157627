// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

const secretFile = "/etc/shadow"

// attempt is one way to do the forbidden act, as the entrypoint of a container
// whose root may do nearly everything.
type attempt struct {
	name string
	args []string
	// edit changes config.json further; nil: nothing.
	edit func(*specs.Spec)
	// acts is how often the forbidden act is done.
	acts int
}

// attempts is every escape that the actor knows, and what needs other programs.
func attempts(t *testing.T) []attempt {
	t.Helper()
	help, err := exec.CommandContext(t.Context(), testenv.Binary(t, "./test/actor"), "escape", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, modes, found := strings.Cut(string(help), "modes: ")
	if !found {
		t.Fatalf("no modes in %q", help)
	}
	var all []attempt
	for mode := range strings.FieldsSeq(modes) {
		all = append(all, attempt{name: mode, args: []string{testenv.ActorPath, "escape", mode, secretFile}, acts: 1})
	}
	const bombs = 500
	shell := func(script string) []string { return []string{"/bin/sh", "-c", "echo READY:sh; " + script} }
	return append(all,
		attempt{name: "host-setns", args: []string{testenv.ActorPath, "escape", "setns", secretFile}, edit: onHost, acts: 1},
		attempt{name: "host-setns-exec", args: []string{testenv.ActorPath, "escape", "setns-exec", secretFile}, edit: onHost, acts: 1},
		attempt{name: "host-pids-rootmove", args: []string{testenv.ActorPath, "escape", "rootmove-exec", secretFile}, edit: onHost, acts: 1},
		attempt{name: "fork-bomb", args: []string{testenv.ActorPath, "loop", "-procs", "500", "-count", "1", secretFile, "0s"}, acts: bombs},
		attempt{name: "fork-bomb-root", args: shell("echo 0 > /cg/cgroup.procs && exec /bin/actor loop -procs 500 -count 1 /etc/shadow 0s"), acts: bombs},
		attempt{name: "copied-program", args: shell("cp /bin/busybox /tmp/cat && exec /tmp/cat /etc/shadow"), acts: 1},
		attempt{name: "copied-in-root", args: shell("cp /bin/busybox /tmp/cat && echo 0 > /cg/cgroup.procs && /tmp/cat /etc/shadow"), acts: 1},
		attempt{name: "orphan", args: shell("(setsid cat /etc/shadow &) ; sleep 0.2"), acts: 1},
		attempt{name: "no-own-cgroup", args: []string{"/bin/sh", "-c",
			`own=/cg$(sed -n 's/^0:://p' /proc/self/cgroup); echo 0 > /cg/cgroup.procs; rmdir $own && echo READY:sh; cat /etc/shadow`}, acts: 1},
	)
}

// onHost gives a container the host's processes, and the right to enter their
// namespaces.
func onHost(spec *specs.Spec) {
	// Process 1 may have rights that this machine keeps even from root.
	spec.Process.Env = append(spec.Process.Env, fmt.Sprintf("ACTOR_TARGET=%d", os.Getpid()))
	spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.PIDNamespace
	})
	for _, set := range []*[]string{
		&spec.Process.Capabilities.Bounding, &spec.Process.Capabilities.Effective, &spec.Process.Capabilities.Permitted,
	} {
		*set = append(slices.Clone(*set), "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH")
	}
}

// verdict is what became of an attempt.
type verdict string

const (
	killed     verdict = "killed"
	leaked     verdict = "LEAK"
	unreached  verdict = "not reached" // the act was not tried
	unexplored verdict = "other"
)

// tried is an attempt in a container that a policy selects, or in one that none does.
type tried struct {
	result  testenv.Result
	verdict verdict
	signals uint64 // that the policy counted
}

// try runs the attempt in a new container and tells what became of it.
func (r *rig) try(ctx context.Context, t *testing.T, a attempt, annotations map[string]string) tried {
	t.Helper()
	before := r.signals(t)
	box := testenv.Bundle(t, testenv.Spec{
		Args: a.args, Annotations: annotations, Hooks: r.hook.OCI(), CgroupFS: true, Edit: a.edit,
	})
	out := tried{result: r.runc.Run(ctx, box)}
	out.signals = r.signals(t) - before
	out.verdict = a.judge(out.result)
	return out
}

// both tries without policy and then with it.
func (r *rig) both(t *testing.T, a attempt) (free, bound tried) {
	t.Helper()
	free = r.try(t.Context(), t, a, nil)
	if free.signals != 0 {
		t.Errorf("the policy signalled %d times in a container that it does not select: %s", free.signals, free.result)
	}
	return free, r.try(t.Context(), t, a, agentenv.Marked(r.mark))
}

// judge reads what the container said and how it ended. Killed is who reached
// the act and has no more to say, or saw the death of the child that did it.
func (a attempt) judge(r testenv.Result) verdict {
	said := r.Stdout
	switch {
	case strings.Contains(said, "LEAK:"), strings.Contains(said, testenv.Secret), strings.Contains(said, " leak"):
		return leaked
	case !strings.Contains(said, "READY:") || strings.Contains(said, "FAILED:"):
		return unreached
	case strings.Contains(said, fmt.Sprintf("total killed:SIGKILL %d\n", a.acts)),
		strings.Contains(said, "KILLED:") && strings.Contains(said, ":SIGKILL\n"),
		r.Code == 137, strings.Contains(r.Stderr, "Killed"):
		return killed
	case a.name == "orphan" && r.Code == 0:
		return killed // nobody waits for it; the counter shows
	}
	return unexplored
}

// TestEscapes: whatever a root process in a container with the host's cgroup
// namespace and a writable cgroupfs does before the forbidden act, it is killed.
// Each way is walked in a container without policy first, for a way that leads
// nowhere proves nothing.
func TestEscapes(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	r := newRig(t, testenv.AgentOptions{})
	r.agent.Policy(t, agentenv.KillShadow(r.policy, r.mark))
	before := r.agent.Status(t)
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "mode\twithout policy\twith policy\tsignals counted")
	held, idle := 0, []string{}
	for _, a := range attempts(t) {
		t.Run(a.name, func(t *testing.T) {
			free, bound := r.both(t, a)
			fmt.Fprintf(table, "%s\t%s\t%s\t%d\n", a.name, free.verdict, bound.verdict, bound.signals)
			switch {
			case bound.verdict == leaked:
				t.Errorf("LEAK: %s", bound.result)
			case free.verdict != leaked:
				idle = append(idle, a.name)
				t.Logf("leads nowhere without policy: %s", free.result)
			case bound.verdict != killed || bound.signals < uint64(a.acts):
				t.Errorf("%s, the policy counted %d signals for %d acts: %s", bound.verdict, bound.signals, a.acts, bound.result)
			default:
				held++
			}
		})
	}
	table.Flush()
	for line := range strings.Lines(text.String()) {
		testenv.Report(t, "escape: %s", strings.TrimRight(line, "\n "))
	}
	testenv.Report(t, "%d escapes held, each killed and counted; %d lead nowhere on this machine %q", held, len(idle), idle)
	if held < 45 {
		t.Errorf("only %d escapes were held", held)
	}
	r.noErrors(t, before)
	r.settled(t)
}
