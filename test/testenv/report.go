// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"fmt"
	"testing"

	"github.com/boltseal/boltseal/test/testenv/summary"
)

// Report says a figure that a reader of make test should see, such as how many
// containers were started and how many survived.
func Report(tb testing.TB, format string, args ...any) {
	tb.Helper()
	tb.Log(summary.ReportPrefix + fmt.Sprintf(format, args...))
}
