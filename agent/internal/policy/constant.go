// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"

	"github.com/boltseal/boltseal/api/capability"
)

// Constants names the kernel's numbers. It is safe for concurrent use.
type Constants struct {
	families, protocols, states map[uint64]string
}

// NewConstants reads the names.
func NewConstants() *Constants {
	c := &Constants{families: map[uint64]string{}, protocols: map[uint64]string{}, states: map[uint64]string{}}
	// Of two names for one number the more common one is told.
	aliases := map[string]bool{"AF_FILE": true, "AF_LOCAL": true, "AF_ROUTE": true, "IPPROTO_HOPOPTS": true}
	for name, n := range numbers("") {
		for prefix, into := range map[string]map[uint64]string{"AF_": c.families, "IPPROTO_": c.protocols, "TCP_": c.states} {
			if strings.HasPrefix(name, prefix) && !aliases[name] {
				into[n] = name
			}
		}
	}
	return c
}

// Family is the name of a family of addresses: "AF_INET".
func (c *Constants) Family(n uint16) string { return named(c.families, uint64(n)) }

// Protocol is the name of a protocol: "IPPROTO_TCP".
func (c *Constants) Protocol(n uint16) string { return named(c.protocols, uint64(n)) }

// State is the name of a socket's state: "TCP_ESTABLISHED".
func (c *Constants) State(n uint8) string { return named(c.states, uint64(n)) }

// named is a number's name, or the number where it has none.
func named(names map[uint64]string, n uint64) string {
	if name, ok := names[n]; ok {
		return name
	}
	return fmt.Sprint(n)
}

// CapabilityName is the name of a capability: "CAP_CHOWN"; a number that none has
// stays one.
func CapabilityName(n int) string {
	if all := capability.Names(); n >= 0 && n < len(all) {
		return all[n]
	}
	return fmt.Sprint(n)
}
