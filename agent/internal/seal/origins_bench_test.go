// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/boltseal/boltseal/test/testenv"
)

// What it costs forks and execs that origins are kept, beside what they cost when
// none are, in turn: the least of each, for one fork and for one fork with an exec.
func BenchmarkKeptOrigins(b *testing.B) {
	busybox, err := exec.LookPath("busybox")
	testenv.Require(b, testenv.Optional("busybox", func() error { return err }))
	r := newRig(b, nil)
	for name, act := range map[string]string{"fork": "( : )", "exec": busybox + " true"} {
		b.Run(name, func(b *testing.B) {
			const times = 300
			script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do %s; i=$((i+1)); done", times, act)
			least := map[bool]time.Duration{}
			for b.Loop() {
				for _, keep := range []bool{false, true} {
					if err := r.KeepOrigins(keep); err != nil {
						b.Fatal(err)
					}
					start := time.Now()
					if out, err := exec.CommandContext(b.Context(), busybox, "sh", "-c", script).CombinedOutput(); err != nil {
						b.Fatalf("%v: %s", err, out)
					}
					if took := time.Since(start) / times; least[keep] == 0 || took < least[keep] {
						least[keep] = took
					}
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(least[false].Nanoseconds()), "ns/none")
			b.ReportMetric(float64(least[true].Nanoseconds()), "ns/kept")
			b.ReportMetric(float64(least[true])/float64(least[false]), "kept/none")
		})
	}
}
