// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/config"
	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/remote"
)

func TestRemoteActionsOfEvents(t *testing.T) {
	t.Parallel()
	var asked, submitted []string
	r := &remoteActions{known: map[ruleBit][]remote.Request{}}
	r.submit = func(one remote.Request) {
		submitted = append(submitted, one.Policy+" "+one.Action.Kind.String()+" "+one.Action.Target)
	}
	r.resolve = func(site, version uint32, bit int) (engine.Rule, bool) {
		asked = append(asked, fmt.Sprint(site, version, bit))
		rule := engine.Rule{Policy: &compile.Policy{Policy: &policy.Policy{Name: "p", Namespace: "n"}}, Rule: &compile.Rule{}}
		if bit == 1 {
			rule.Rule.Remote = []policy.Action{{Kind: policy.GetURL, Target: "u"}, {Kind: policy.DNSLookup, Target: "d"}}
		}
		return rule, bit != 2
	}
	of := &event.Site{Site: 3, Version: 4}
	of.Posted[0] = 0b111
	for range 2 {
		r.handle(of)
		r.handle(&event.Armed{})
	}
	if got := strings.Join(submitted, ", "); got != "n/p GetUrl u, n/p DnsLookup d, n/p GetUrl u, n/p DnsLookup d" {
		t.Errorf("submitted %s", got)
	}
	// What is known is not asked for again, what is not yet known is.
	if got := strings.Join(asked, ", "); got != "3 4 0, 3 4 1, 3 4 2, 3 4 2" {
		t.Errorf("asked for %s", got)
	}
	for version := range 2 * uint32(maxRemembered) {
		r.handle(&event.Site{Version: version, Posted: event.RuleBits{1}})
	}
	if len(r.known) > maxRemembered {
		t.Errorf("%d rules are remembered", len(r.known))
	}
}

func TestAllowedRemote(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]config.Config{
		"[]": {}, "[GetUrl]": {AllowGetURL: true}, "[DnsLookup]": {AllowDNSLookup: true},
	} {
		if got := fmt.Sprint(allowedRemote(c)); got != want {
			t.Errorf("allowed %s, want %s", got, want)
		}
	}
}
