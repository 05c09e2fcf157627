// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package truth compares the stream of events with what processes did. Random trees
// of processes, which fork, execute, make threads and die in all ways there are, write
// a journal of what they do; every event must be in it and everything in it must be an
// event.
//
// A program is made from a number, its seed, which a failure tells together with the
// smallest program that was found to fail in the same way. -boltseal.seed tries one seed
// again, -boltseal.programs says how many are tried.
package truth

import (
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
