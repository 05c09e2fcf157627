// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"testing"
	"time"
)

// pollInterval is short beside anything that tests wait for, and long beside a check.
const pollInterval = 5 * time.Millisecond

// Eventually calls check until it returns nil, and fails the test with the last
// error if that takes longer than limit. It goes on after a failure, so that it
// can be used in cleanups and other goroutines.
func Eventually(tb testing.TB, limit time.Duration, what string, check func() error) {
	tb.Helper()
	if err := poll(limit, check); err != nil {
		tb.Errorf("%s: not within %v: %v", what, limit, err)
	}
}

// poll calls check until it returns nil or time is up, then returns its last error.
func poll(limit time.Duration, check func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-time.After(pollInterval)
	}
}
