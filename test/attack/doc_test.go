// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package attack attacks the product from outside: processes in real containers
// that try to leave their seal, clients that lie, agents that die at the worst
// moment. Each promise has a control that shows the attack works where nothing
// stands against it.
package attack

import (
	"os"
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
)

func TestMain(m *testing.M) {
	// A test starts this program again, as another user, to call the agent.
	if socket := os.Getenv(clientVariable); socket != "" {
		os.Exit(client(socket))
	}
	testenv.Main(m)
}
