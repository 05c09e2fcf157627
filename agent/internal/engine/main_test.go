// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"os"
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(execVariable); path != "" {
		fmt.Fprintln(os.Stderr, execByFile(path))
		os.Exit(1)
	}
	testenv.Main(m)
}
