// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"

	"github.com/boltseal/boltseal/agent/internal/enrich"
	"github.com/boltseal/boltseal/agent/internal/filter"
	"github.com/boltseal/boltseal/agent/internal/filter/redact"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// redacted hides parts of events before any subscriber sees them.
type redacted struct {
	enrich.Sink
	redactions *redact.Redactions
}

// Publish is enrich.Sink.
func (r redacted) Publish(e *tetragon.GetEventsResponse) { r.Sink.Publish(r.redactions.Apply(e)) }

func compileRedactions(text string) (*redact.Redactions, error) {
	list, err := filter.ParseRedactions(text)
	if err != nil {
		return nil, fmt.Errorf("redaction-filters: %w", err)
	}
	r, err := redact.Compile(list)
	if err != nil {
		return nil, fmt.Errorf("redaction-filters: %w", err)
	}
	return r, nil
}

// lineage tells filters from whom a process descends, as far as it is remembered.
type lineage struct{ processes *process.Cache }

// Ancestor is filter.Lineage.
func (l lineage) Ancestor(execID string) (filter.Ancestor, bool) {
	p, ok := l.processes.ByExecID(execID)
	if !ok {
		return filter.Ancestor{}, false
	}
	return filter.Ancestor{PID: p.Key.Tgid, Binary: p.Binary, ParentExecID: p.ParentExecID}, true
}
