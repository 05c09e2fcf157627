// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// leakTime is how long things may take to go after a test: the kernel removes
// cgroups and closes files in the background.
const leakTime = 5 * time.Second

// LeakCheck fails the test when, after all cleanups that are registered later,
// there are processes, cgroups, mounts of the session, or goroutines or open
// files of this process that were not there before. Call it first, and not in a
// parallel test.
func LeakCheck(tb testing.TB) {
	tb.Helper()
	leakCheck(tb, leakTime)
}

func leakCheck(tb testing.TB, limit time.Duration) {
	tb.Helper()
	name := of(tb).name
	before := leftovers(name)
	files := openFiles()
	goroutines := goleak.IgnoreCurrent()
	tb.Cleanup(func() {
		Eventually(tb, limit, "all is as before the test", func() error {
			left := slices.DeleteFunc(leftovers(name), func(l string) bool { return slices.Contains(before, l) })
			for target, n := range openFiles() {
				if n > files[target] {
					left = append(left, fmt.Sprintf("%d more files open on %s", n-files[target], target))
				}
			}
			if len(left) == 0 {
				return nil
			}
			return errors.New("left behind:\n  " + strings.Join(left, "\n  "))
		})
		if err := goleak.Find(goroutines); err != nil {
			tb.Errorf("left behind: %v", err)
		}
	})
}

// openFiles counts the descriptors of this process by what they point to. The
// numbers of sockets and pipes are left out: only how many there are matters.
func openFiles() map[string]int {
	files := map[string]int{}
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || strings.HasPrefix(target, "/proc/") {
			continue // the descriptor that reads the directory
		}
		if kind, _, found := strings.Cut(target, ":["); found {
			target = kind
		}
		files[target]++
	}
	return files
}
