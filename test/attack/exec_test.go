// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// TestExecFollowsTheContainer: what an operator starts in a container is bound by
// its policy also when the container has left its cgroup and made it anew, so
// that the runtime puts the new process into one that is not sealed, and when no
// runtime and no cgroup is in play at all.
func TestExecFollowsTheContainer(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	r := newRig(t, testenv.AgentOptions{})
	r.agent.Policy(t, agentenv.KillShadow(r.policy, r.mark))
	const own = `own=/cg$(sed -n 's/^0:://p' /proc/self/cgroup); `
	for _, test := range []struct{ name, script string }{
		{"stayed", ""},
		{"moved to the root", "echo 0 > /cg/cgroup.procs; "},
		{"moved to a new cgroup", "mkdir /cg/$ACTOR_NAME-new; echo 0 > /cg/$ACTOR_NAME-new/cgroup.procs; "},
		{"removed its cgroup", own + "echo 0 > /cg/cgroup.procs; rmdir $own; "},
		{"removed its cgroup and made it anew", own + "echo 0 > /cg/cgroup.procs; rmdir $own; mkdir $own; "},
	} {
		t.Run(test.name, func(t *testing.T) {
			free, bound := r.moved(t, test.script, "not-"+r.mark), r.moved(t, test.script, r.mark)
			for _, way := range []string{"runc", "nsenter"} {
				said := r.enter(t, free, way)
				if strings.Contains(said, "no such file or directory") {
					t.Logf("%s enters no container without a cgroup: %q", way, said)
				} else if !strings.Contains(said, testenv.Secret) {
					t.Errorf("%s into a container without policy: %q", way, said)
				}
				before := r.signals(t)
				said = r.enter(t, bound, way)
				if strings.Contains(said, testenv.Secret) {
					t.Errorf("%s into the container: LEAK: %q", way, said)
				}
				if n := r.signals(t) - before; n != 1 && !strings.Contains(said, "no such file or directory") {
					t.Errorf("%s into the container: the policy counted %d signals for one act: %q", way, n, said)
				}
			}
		})
	}
	r.settled(t)
}

// moved is a container that runs a script first and then stays.
func (r *rig) moved(t *testing.T, script, mark string) *testenv.Container {
	t.Helper()
	box := testenv.Bundle(t, testenv.Spec{
		Args:        []string{"/bin/sh", "-c", script + "echo READY; exec sleep 1000"},
		Annotations: agentenv.Marked(mark), Hooks: r.hook.OCI(), CgroupFS: true,
	})
	if result := r.runc.RunDetached(t.Context(), box); result.Code != 0 {
		t.Fatal(result)
	}
	testenv.Eventually(t, 10*time.Second, "the container is ready", said(box, "READY"))
	return box
}

// enter does the forbidden act in a running container, by the runtime or around
// it, and returns all that was written.
func (r *rig) enter(t *testing.T, box *testenv.Container, way string) string {
	t.Helper()
	if way == "runc" {
		return r.runc.Exec(t.Context(), box, "/bin/cat", secretFile).String()
	}
	state, err := r.runc.State(t.Context(), box)
	if err != nil {
		t.Fatal(err)
	}
	// The output tells what became of it.
	out, _ := exec.CommandContext(t.Context(), "nsenter", "-t", strconv.Itoa(state.Pid), "-m", "-p", "-u", "-i", "/bin/cat", secretFile).CombinedOutput()
	return string(out)
}
