// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"github.com/boltseal/boltseal/agent/internal/config"
	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/remote"
)

// allowedRemote are the actions to other hosts that the configuration allows.
func allowedRemote(c config.Config) []policy.ActionKind {
	var allowed []policy.ActionKind
	if c.AllowGetURL {
		allowed = append(allowed, policy.GetURL)
	}
	if c.AllowDNSLookup {
		allowed = append(allowed, policy.DNSLookup)
	}
	return allowed
}

// maxRemembered bounds the rules whose remote actions are remembered.
const maxRemembered = 8192

// remoteActions finds the remote actions of the rules that matched.
type remoteActions struct {
	resolve func(site, version uint32, bit int) (engine.Rule, bool)
	submit  func(remote.Request)
	// known are those of rules, most of which have none. The answer for a version
	// never changes.
	known map[ruleBit][]remote.Request
}

type ruleBit struct {
	site, version uint32
	bit           int
}

// handle submits what the rules of an event ask for.
func (r *remoteActions) handle(of event.Event) {
	site, ok := of.(*event.Site)
	if !ok {
		return
	}
	for bit := range site.Posted.All() {
		for _, request := range r.of(ruleBit{site.Site, site.Version, bit}) {
			r.submit(request)
		}
	}
}

func (r *remoteActions) of(at ruleBit) []remote.Request {
	requests, known := r.known[at]
	if known {
		return requests
	}
	rule, ok := r.resolve(at.site, at.version, at.bit)
	if !ok {
		return nil // the enricher counts it
	}
	for _, a := range rule.Rule.Remote {
		requests = append(requests, remote.Request{Policy: rule.Policy.Key(), Action: a})
	}
	if len(r.known) >= maxRemembered {
		clear(r.known)
	}
	r.known[at] = requests
	return requests
}
