// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/seal"
)

func addFile(t *testing.T, c *Controller, file string, text []byte, instead string) error {
	t.Helper()
	p, err := policy.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c.AddFilePolicy(file, p, instead)
}

// TestFilesAndCallsDoNotFight holds that a name belongs to the way that it came by.
func TestFilesAndCallsDoNotFight(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	w.run("/a", 10, 100)
	web := admit(t, c, "web", 100)
	if err := addFile(t, c, "/f", policyText("p", forWeb), ""); err != nil {
		t.Fatal(err)
	}
	add(t, c, policyText("q", forWeb))
	wantInForce(t, w, web.Slot, "p q")
	if _, err := c.AddPolicy(policyText("p", "containerSelector: {}")); !errors.Is(err, ErrOwned) || !strings.Contains(err.Error(), "file /f") {
		t.Errorf("call for a file's policy: %v", err)
	}
	if err := c.DeletePolicy("", "p"); !errors.Is(err, ErrOwned) || !strings.Contains(err.Error(), "file /f") {
		t.Errorf("call to delete a file's policy: %v", err)
	}
	if err := addFile(t, c, "/g", policyText("q", "containerSelector: {}"), ""); !errors.Is(err, ErrOwned) {
		t.Errorf("file for the API's policy: %v", err)
	}
	if err := c.DeleteFilePolicy("q"); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete of the API's policy as a file's: %v", err)
	}
	// Nor does a file take it along as its own former policy.
	if err := addFile(t, c, "/f", policyText("p", forWeb), "q"); err != nil {
		t.Error(err)
	}
	wantInForce(t, w, web.Slot, "p q")
	wantInForce(t, w, w.free[0], "")
	monitor := policy.Monitor
	if err := c.ConfigurePolicy("", "p", nil, &monitor); err != nil {
		t.Errorf("mode of a file's policy: %v", err)
	}
	wantInForce(t, w, web.Slot, "(p) q")
	all, err := c.Policies()
	if err != nil || len(all) != 2 || all[0].File != "/f" || all[1].File != "" {
		t.Errorf("listed: %v, %v", all, err)
	}
	if err := c.DeleteFilePolicy("p"); err != nil {
		t.Error(err)
	}
	wantInForce(t, w, web.Slot, "q")
	if len(w.loaded) != 1 {
		t.Errorf("%d policies are loaded, want 1", len(w.loaded))
	}
}

// TestRenamedFilePolicyIsOneStep: the one goes as the other comes, or neither.
func TestRenamedFilePolicyIsOneStep(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	w.run("/a", 10, 100)
	web := admit(t, c, "web", 100)
	if err := addFile(t, c, "/f", policyText("old", forWeb), ""); err != nil {
		t.Fatal(err)
	}
	for _, refuse := range []*error{&w.refuse, &w.refuseApply} { // Load's, and Apply's
		*refuse = seal.ErrNoRoom
		if err := addFile(t, c, "/f", policyText("new", "containerSelector: {}"), "old"); !errors.Is(err, seal.ErrNoRoom) {
			t.Errorf("kernel without room: %v", err)
		}
		wantInForce(t, w, web.Slot, "old")
		wantInForce(t, w, w.free[0], "")
	}
	applied := w.applied
	if err := addFile(t, c, "/f", policyText("new", "containerSelector: {}"), "old"); err != nil {
		t.Fatal(err)
	}
	if n := w.applied - applied; n != 1 {
		t.Errorf("%d steps, want 1", n)
	}
	wantInForce(t, w, web.Slot, "new")
	wantInForce(t, w, w.free[0], "new")
	if len(w.loaded) != 1 || c.policies["old"] != nil {
		t.Errorf("%d policies are loaded, want 1", len(w.loaded))
	}
}

// TestDeletedIsTold: of what is gone, by whatever way, and of nothing else.
func TestDeletedIsTold(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	var told []string
	c.Deleted = func(key string) { told = append(told, key) }
	add(t, c, policyText("p", forWeb))
	add(t, c, policyText("p", "containerSelector: {}")) // replaced
	if err := c.ConfigurePolicy("", "p", new(false), nil); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(addFile(t, c, "/f", policyText("q", forWeb), ""), addFile(t, c, "/f", policyText("r", forWeb), "q")); err != nil {
		t.Fatal(err)
	}
	w.refuse = errors.New("no")
	if err := c.DeletePolicy("", "p"); err == nil {
		t.Error("deleted all the same")
	}
	if err := errors.Join(c.DeletePolicy("", "p"), c.DeleteFilePolicy("r")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(told, " "); got != "q p r" {
		t.Errorf("told of %q, want q p r", got)
	}
}
