// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"fmt"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// TestAnnouncementsFill: a client that announces more containers than the kernel
// has room for is told so, and what was announced before is as good as ever.
func TestAnnouncementsFill(t *testing.T) {
	const many = 5000
	testenv.LeakCheck(t)
	agentenv.Require(t)
	r := newSecluded(t, "--log-level", "warn")
	r.agent.Policy(t, agentenv.KillShadow(r.policy, r.mark))
	early := testenv.Bundle(t, testenv.Spec{Args: []string{"/bin/cat", secretFile}, Annotations: agentenv.Marked(r.mark), Hooks: r.hook.OCI()})
	announce := func(id string) error {
		return r.agent.Announce(t.Context(), &create{ContainerID: id, CgroupsPath: "/" + id, Annotations: agentenv.Marked(r.mark)})
	}
	if err := announce(early.ID); err != nil {
		t.Fatal(err)
	}
	taken := 0
	for i := range many {
		err := announce(fmt.Sprintf("%s-announced-%d", early.ID, i))
		switch {
		case err == nil:
			taken++
		case status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "no room"):
			t.Fatalf("announcement %d: %v", i, err)
		}
	}
	if taken < 4000 || taken == many {
		t.Errorf("%d of %d announcements were taken", taken, many)
	}
	testenv.Eventually(t, 5*time.Second, "refused announcements leave nothing", func() error {
		if n := len(r.agent.Containers(t)); n != taken+1 && n != taken+1+strangers(r.agent.Containers(t)) {
			return fmt.Errorf("%d containers are listed, %d were announced", n, taken+1)
		}
		return nil
	})
	// Announced before; and not announced, for which there is no room to be announced.
	result := r.runc.Run(t.Context(), early)
	if result.Code != 137 || strings.Contains(result.Stdout, testenv.Secret) {
		t.Errorf("the one announced first: %s\nhook: %s", result, r.hook.Lines(t))
	}
	r.works(t)
	testenv.Report(t, "%d of %d announcements taken, the rest refused for want of room", taken, many)
}

func strangers(all map[string]*boltseal.Container) (n int) {
	for _, c := range all {
		if strange(c) {
			n++
		}
	}
	return n
}

// TestNoRoomIsNotOpen: a container that finds no slot does not start, also where
// no hook stands in its way, and those that have one run on.
func TestNoRoomIsNotOpen(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	r := newSecluded(t, "--max-containers", "4")
	r.agent.Policy(t, agentenv.KillShadow(r.policy, r.mark))
	first := r.load(t, r.mark)
	for i := range 16 { // others may hold some of the four, or free one
		_ = r.agent.Announce(t.Context(), &create{ContainerID: fmt.Sprintf("%s-%d", first.ID, i), CgroupsPath: fmt.Sprintf("/%s-%d", first.ID, i)})
	}
	start := func(t *testing.T, hooks *specs.Hooks) {
		t.Helper()
		box := testenv.Bundle(t, testenv.Spec{Args: []string{"/bin/sh", "-c", "echo RAN; cat " + secretFile}, Hooks: hooks})
		if result := r.runc.Run(t.Context(), box); result.Code == 0 || strings.Contains(result.Stdout, "RAN") {
			t.Errorf("a container without a slot ran: %s", result)
		}
	}
	start(t, r.hook.OCI())
	start(t, nil)
	// The kernel alone ends it too.
	if err := r.agent.Hang(); err != nil {
		t.Fatal(err)
	}
	start(t, nil)
	if err := r.agent.Resume(); err != nil {
		t.Fatal(err)
	}
	if n := r.agent.Status(t).GetKernelErrors()["no_slot"]; n < 3 {
		t.Errorf("the kernel counted %d containers without a slot, want 3", n)
	}
	if result := r.runc.Exec(t.Context(), first, "/bin/cat", secretFile); result.Code != 137 {
		t.Errorf("exec in the one that has a slot: %s", result)
	}
}
