// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/kernel/kerneltest"
	"github.com/boltseal/boltseal/test/testenv"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(execVariable); path != "" {
		fmt.Fprintln(os.Stderr, execByFile(path))
		os.Exit(1)
	}
	if path := os.Getenv("BOLTSEAL_TEST_ACTS"); path != "" {
		if err := actsOnDemand(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if path := os.Getenv(ChangerVariable); path != "" {
		if err := changer(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if path := os.Getenv(UringVariable); path != "" {
		if err := uringActs(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if path := os.Getenv(StormVariable); path != "" {
		if err := stormActs(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if address := os.Getenv(dialVariable); address != "" {
		if err := dialAndSend(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	testenv.Main(m)
}

func TestWithoutTaskStorage(t *testing.T) {
	kerneltest.WithoutTaskStorage(t, "TestChangesAreAtomic", "TestApplyWaits", "TestValuesThatDoNotFit",
		"TestSetsThatDoNotFit", "TestLimitsOfSitesAndPolicies", "TestResolve", "TestGracePeriodsStandBetween",
		"TestNoActIsLostWhenVersionsAreDeleted",
		// Values and how they are compared.
		"TestConformance.*", "TestKernelAndGo.*", "TestChainsAreJudgedAlike", ".*InMemory", "TestStructures.*", "TestTypes.*",
		"TestExpressions.*", "TestInstructions.*", "TestUnixAddresses", "TestBytesOfCalls", "TestFieldsOfRecords", "TestChurn", "TestModeStorm")
}

// actsOnDemand reads numbers from standard input and does the act, chroot of what
// does not exist, so many times for each.
func actsOnDemand(path string) error {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	in := bufio.NewReader(os.Stdin)
	for {
		var n int
		if _, err := fmt.Fscanln(in, &n); err != nil {
			return nil //nolint:nilerr // the end of the input is the end of the test
		}
		for range n {
			_, _, _ = unix.RawSyscall(unix.SYS_CHROOT, uintptr(unsafe.Pointer(name)), 0, 0)
		}
		fmt.Println("done")
	}
}
