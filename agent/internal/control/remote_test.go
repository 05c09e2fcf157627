// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// TestRemoteActionsAreOff unless the operator says otherwise, each of them.
func TestRemoteActionsAreOff(t *testing.T) {
	t.Parallel()
	c, w := start(t)
	text := []byte(strings.ReplaceAll(string(policyText("p", "")), "{action: Sigkill}",
		"{action: GetUrl, argUrl: 'http://example.org/'}, {action: DnsLookup, argFqdn: example.org}"))
	for _, step := range []struct {
		allowed []policy.ActionKind
		want    []string
	}{
		{nil, []string{"matchActions[0]: action GetUrl is off", "--allow-get-url", "matchActions[1]: action DnsLookup is off", "--allow-dns-lookup"}},
		{[]policy.ActionKind{policy.GetURL}, []string{"matchActions[1]: action DnsLookup is off"}},
		{[]policy.ActionKind{policy.DNSLookup}, []string{"matchActions[0]: action GetUrl is off"}},
	} {
		c.Remote = step.allowed
		_, err := c.AddPolicy(text)
		if !errors.Is(err, ErrInvalid) || len(w.loaded) != 0 || c.Enforces("p") {
			t.Errorf("allowed %v: %v", step.allowed, err)
			continue
		}
		for _, want := range step.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("allowed %v: %v, want %q in it", step.allowed, err, want)
			}
		}
	}
	c.Remote = append(c.Remote, policy.GetURL)
	add(t, c, text)
	monitor, enforce, off, on := policy.Monitor, policy.Enforce, false, true
	for _, step := range []struct {
		enable *bool
		mode   *policy.Mode
		want   bool
	}{{nil, nil, true}, {nil, &monitor, false}, {&off, &enforce, false}, {&on, nil, true}} {
		if err := c.ConfigurePolicy("", "p", step.enable, step.mode); err != nil {
			t.Fatal(err)
		}
		if got := c.Enforces("p"); got != step.want {
			t.Errorf("enforces: %t after %+v", got, step)
		}
	}
	if c.Enforces("q") {
		t.Error("a policy that is not there is enforced")
	}
}
