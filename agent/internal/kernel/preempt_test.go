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

func TestRawTracepointsPreempted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		release, version string
		want             bool
	}{
		{"6.12.48-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.12.48-1", false},
		{"6.18.1", "#1 SMP PREEMPT", false},
		{"7.0.0", "#1 SMP", false},
		{"7.0.0", "#1 SMP PREEMPT_LAZY", true},
		{"7.1.3+deb14-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 7.1.3-1", true},
	} {
		if got := rawTracepointsPreempted(tt.release, tt.version); got != tt.want {
			t.Errorf("%s %s: %v, want %v", tt.release, tt.version, got, tt.want)
		}
	}
}
