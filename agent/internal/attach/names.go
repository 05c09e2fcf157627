// SPDX-License-Identifier: Apache-2.0

package attach

import "github.com/boltseal/boltseal/agent/internal/policy"

// Functions is compile.Kernel. It is asked each time: modules come and go.
func (p *Points) Functions() ([]string, error) { return p.tracefs.Functions() }

// Syscalls is compile.Kernel.
func (p *Points) Syscalls() ([]string, error) {
	symbols, err := p.symbols()
	if err != nil {
		return nil, err
	}
	return syscalls(symbols, abis()[""].prefixes[0]), nil
}

// syscalls are the calls whose functions are among the kernel's symbols. Not every
// function that is named like one is a call: those that only serve the ABI for 32
// bits are there too.
func syscalls(symbols map[string]bool, prefix string) []string {
	var calls []string
	for _, call := range policy.Syscalls() {
		if symbols[prefix+call] {
			calls = append(calls, call)
		}
	}
	return calls
}
