// SPDX-License-Identifier: Apache-2.0

package capability_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/api/capability"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func TestNumber(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{
		"CAP_CHOWN": unix.CAP_CHOWN, "CAP_NET_RAW": unix.CAP_NET_RAW, "CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "CAP_MKNOD": unix.CAP_MKNOD,
		"CAP_SETFCAP": unix.CAP_SETFCAP, "cap_syslog": unix.CAP_SYSLOG, "CAP_PERFMON": unix.CAP_PERFMON, "CAP_BPF": unix.CAP_BPF,
	} {
		if got, ok := capability.Number(name); !ok || got != want {
			t.Errorf("%s is %d, %v; want %d", name, got, ok, want)
		}
	}
	if n, ok := capability.Number("CAP_ROOT"); ok {
		t.Errorf("CAP_ROOT is %d", n)
	}
}

// TestNames: all are there, by the numbers that the API has for them.
func TestNames(t *testing.T) {
	t.Parallel()
	all := capability.Names()
	if len(all) != unix.CAP_LAST_CAP+1 {
		t.Errorf("%d names, and the last capability is %d", len(all), unix.CAP_LAST_CAP)
	}
	for n, name := range all {
		if of := tetragon.CapabilitiesType(n).String(); of != name && "CAP_"+of != name {
			t.Errorf("capability %d is %s, and %s in the API", n, name, of)
		}
	}
}
