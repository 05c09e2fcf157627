// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"sync"

	"github.com/boltseal/boltseal/agent/internal/enrich"
	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/server"
	"github.com/boltseal/boltseal/agent/internal/stack"
)

// stacks names functions for the enricher and for trees of stacks.
type stacks struct {
	symbols *stack.Symbols
	mu      sync.Mutex // of the kernel's symbols
}

func (s *stacks) kernel(addresses []uint64) []stack.Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.symbols.Kernel(addresses)
}

// Kernel is enrich.Stacks.
func (s *stacks) Kernel(addresses []uint64) []enrich.Frame { return frames(s.kernel(addresses)) }

// User is enrich.Stacks.
func (s *stacks) User(pid uint32, start uint64, addresses []uint64) []enrich.Frame {
	return frames(s.symbols.User(pid, start, addresses))
}

func frames(of []stack.Frame) []enrich.Frame {
	out := make([]enrich.Frame, len(of))
	for i, f := range of {
		out[i] = enrich.Frame(f)
	}
	return out
}

func features(of kernel.Features) (list []server.Feature, probes map[string]bool) {
	for _, a := range of.All() {
		list = append(list, server.Feature{
			Name: string(a.Feature), Err: a.Err, Known: a.Err == nil || errors.Is(a.Err, kernel.ErrUnsupported),
		})
	}
	probes = map[string]bool{}
	for _, a := range of.InfoProbes() {
		probes[string(a.Feature)] = a.Err == nil
	}
	return list, probes
}
