// SPDX-License-Identifier: Apache-2.0

package policy

import "testing"

func TestConstants(t *testing.T) {
	t.Parallel()
	c := NewConstants()
	for got, want := range map[string]string{
		c.Family(1): "AF_UNIX", c.Family(2): "AF_INET", c.Family(10): "AF_INET6", c.Family(16): "AF_NETLINK", c.Family(999): "999",
		c.Protocol(6): "IPPROTO_TCP", c.Protocol(17): "IPPROTO_UDP", c.Protocol(254): "254",
		c.State(1): "TCP_ESTABLISHED", c.State(10): "TCP_LISTEN", c.State(99): "99",
		CapabilityName(0): "CAP_CHOWN", CapabilityName(21): "CAP_SYS_ADMIN", CapabilityName(64): "64", CapabilityName(-1): "-1",
	} {
		if got != want {
			t.Errorf("named %q, want %q", got, want)
		}
	}
}
