// SPDX-License-Identifier: Apache-2.0

package kernel

import "testing"

func TestPreemptible(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"#1 SMP Debian 5.10.223-1 (2024-08-10)":                 false,
		"#1 SMP PREEMPT Debian 5.10.223-1 (2024-08-10)":         true,
		"#1 SMP PREEMPT_RT Debian 5.10.223-1 (2024-08-10)":      true,
		"#1 SMP PREEMPT_DYNAMIC Debian 6.12.48-1 (2025-09-20)":  true,
		"#2 SMP built by somebody who likes to NOT_PREEMPT now": false,
	} {
		if got := preemptible(version); got != want {
			t.Errorf("%q: %v, want %v", version, got, want)
		}
	}
}

func TestTracepointsPreempted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		release, version string
		raw, syscalls    bool
	}{
		{"6.12.48-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.12.48-1", false, false},
		{"6.18.1", "#1 SMP PREEMPT", false, false},
		{"7.0.0", "#1 SMP", false, false},
		{"7.0.0", "#1 SMP PREEMPT_LAZY", true, false},
		{"7.1.3+deb14-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 7.1.3-1", true, false},
		{"7.2.0", "#1 SMP", false, false},
		{"7.2.13+deb14-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 7.2.13-1", true, true},
	} {
		if got := rawTracepointsPreempted(tt.release, tt.version); got != tt.raw {
			t.Errorf("%s %s: raw tracepoints %v, want %v", tt.release, tt.version, got, tt.raw)
		}
		if got := syscallTracepointsPreempted(tt.release, tt.version); got != tt.syscalls {
			t.Errorf("%s %s: tracepoints of system calls %v, want %v", tt.release, tt.version, got, tt.syscalls)
		}
	}
}
