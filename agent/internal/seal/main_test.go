// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
)

// threadsVariable makes the test binary a process of at least so many threads,
// which ends with its standard input.
const threadsVariable = "BOLTSEAL_TEST_THREADS"

func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(threadsVariable)); err == nil {
		threads(n)
		return
	}
	if act, ok := os.LookupEnv(actVariable); ok {
		if err := perform(act); err != nil {
			fmt.Fprintln(os.Stderr, act+":", err)
			os.Exit(1)
		}
		return
	}
	testenv.Main(m)
}

func threads(n int) {
	ready := make(chan bool)
	for range n {
		go func() {
			runtime.LockOSThread()
			ready <- true
			select {}
		}()
		<-ready
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}
