// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// keepOrigins has the origins of processes kept for a policy that asks for them.
func (e *Engine) keepOrigins(l *loaded) error {
	asks := slices.ContainsFunc(l.policy.Hooks, func(h compile.Hook) bool {
		return slices.ContainsFunc(h.Reads, compile.Read.Origin)
	})
	if !asks {
		return nil
	}
	if e.origins == 0 && e.options.Origins != nil {
		if err := e.options.Origins.KeepOrigins(true); err != nil {
			return err
		}
	}
	e.origins++
	l.origins = true
	return nil
}

// dropOrigins is for a policy that goes.
func (e *Engine) dropOrigins(l *loaded) error {
	if !l.origins {
		return nil
	}
	l.origins = false
	if e.origins--; e.origins > 0 || e.options.Origins == nil {
		return nil
	}
	return e.options.Origins.KeepOrigins(false)
}
