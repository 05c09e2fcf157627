// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package e2e tests the product from outside: real containers of a real runc,
// the programs boltseald and boltseal-hook, and what their users see.
package e2e

import (
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
