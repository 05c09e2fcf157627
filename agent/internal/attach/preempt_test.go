// SPDX-License-Identifier: Apache-2.0

package attach

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
