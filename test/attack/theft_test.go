// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// TestNamesAreNoIdentity: a container that makes cgroups called as another's are
// gets neither the other's place with the agent, nor keeps it from starting again.
func TestNamesAreNoIdentity(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	r := newSecluded(t)
	r.agent.Policy(t, agentenv.KillShadow(r.policy, r.mark))
	var digits [32]byte
	_, _ = rand.Read(digits[:]) // never fails
	id := hex.EncodeToString(digits[:])

	victim := func() *testenv.Container {
		box := testenv.Bundle(t, testenv.Spec{
			ID: id, Args: []string{testenv.ActorPath, "sleep"}, Annotations: agentenv.Marked(r.mark), Hooks: r.hook.OCI(),
		})
		if result := r.runc.RunDetached(t.Context(), box); result.Code != 0 {
			t.Fatalf("%s\nhook: %s", result, r.hook.Lines(t))
		}
		return box
	}
	known := func(when string, box *testenv.Container) {
		t.Helper()
		own, err := box.CgroupID()
		if err != nil {
			t.Fatal(err)
		}
		if c := r.agent.Container(t, id); c.GetCgroupId() != own || len(c.GetPolicies()) != 1 {
			t.Errorf("%s the agent takes for the container of cgroup %d: %s", when, own, c)
		}
		if result := r.runc.Exec(t.Context(), box, "/bin/cat", secretFile); result.Code != 137 {
			t.Errorf("%s: exec: %s", when, result)
		}
	}
	box := victim()
	known("before", box)
	thief := testenv.Bundle(t, testenv.Spec{
		Args: []string{"/bin/sh", "-c", fmt.Sprintf(
			"mkdir /cg/$ACTOR_NAME-new /cg/$ACTOR_NAME-new/docker-%[1]s.scope && echo 0 > /cg/$ACTOR_NAME-new/docker-%[1]s.scope/cgroup.procs && "+
				"echo READY; exec sleep 1000", id)},
		Annotations: agentenv.Marked("not-" + r.mark), Hooks: r.hook.OCI(), CgroupFS: true,
	})
	if result := r.runc.RunDetached(t.Context(), thief); result.Code != 0 {
		t.Fatal(result)
	}
	testenv.Eventually(t, 10*time.Second, "the thief has moved", said(thief, "READY"))
	testenv.Eventually(t, 10*time.Second, "the agent knows of the namesake", func() error {
		n := 0
		for other := range r.agent.Containers(t) {
			if strings.HasPrefix(other, id) {
				n++
			}
		}
		if n != 2 {
			return fmt.Errorf("%d containers have the name", n)
		}
		return nil
	})
	known("beside the thief", box)
	if result := r.runc.Delete(t.Context(), box); result.Code != 0 {
		t.Fatal(result)
	}
	known("started again", victim()) // while the namesake is there
	if result := r.runc.Delete(t.Context(), thief); result.Code != 0 {
		t.Fatal(result)
	}
}
