// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"slices"
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
)

// engine is a container engine that runs in the room and has boltseal in it by one way.
type engine interface {
	// title is the engine and its version.
	title() string
	// create makes a container that has not run, and returns its id.
	create(t *testing.T, c container) string
	// start starts it. A status that is not 0, and what the engine said, when it refused.
	start(t *testing.T, id string) testenv.Result
	// wait waits until it has ended, and returns its exit status and what it wrote.
	wait(t *testing.T, id string) testenv.Result
	// exec runs a program in it.
	exec(t *testing.T, id string, argv ...string) testenv.Result
	// remove removes it, whether it runs or not.
	remove(t *testing.T, id string)
	// own are cells that are not proved as they usually are, by their names.
	own() map[string]own
}

// restarter is an engine that restarts containers: without one the cell needs a
// reason in own.
type restarter interface {
	restart(t *testing.T, id string) testenv.Result
}

// pauser is an engine that freezes containers and thaws them.
type pauser interface {
	pause(t *testing.T, id string) testenv.Result
	unpause(t *testing.T, id string) testenv.Result
}

// extended is an engine with cells that no other has, which come first.
type extended interface {
	more() []cell
}

// container says what to make.
type container struct {
	// name is unlike those of all others; mark is a label or an annotation, whichever
	// the engine can tell of, with the key agentenv.MarkKey.
	name, mark string
	// shared is a directory that it has at /tmp.
	shared string
	args   []string
	// labels are further ones, for engines that have any.
	labels map[string]string
	// plain: without boltseal in its way, to compare with.
	plain bool
}

// own is what an engine has in the place of a cell's usual proof: another proof, or
// the reason why it has none, with a check of that reason.
type own struct {
	prove   func(t *testing.T, r *rig)
	because string
	check   func(t *testing.T, r *rig)
}

// way is how boltseal gets into an engine.
type way struct {
	// engine is called as its package is, and by is the way, as hook install has it.
	engine, by string
	// lacks tells, with a reason, whether the engine of a release does not have the
	// way; a test of it proves that. It may be nil.
	lacks func(t *testing.T) string
	// open starts the engine with boltseal in it.
	open func(t *testing.T) engine
	// plain starts the engine without boltseal, for installing and uninstalling it. It is
	// nil where boltseal is not installed into an engine, but given to each container.
	plain func(t *testing.T) unregistered
}

func (w way) String() string { return w.engine + " by " + w.by }

// missing is why the release does not have the way, empty when it has.
func (w way) missing(t *testing.T) string {
	t.Helper()
	if w.lacks == nil {
		return ""
	}
	return w.lacks(t)
}

// unregistered is an engine of the room as its release has it.
type unregistered interface {
	engine
	// flags are those of boltseal hook install for the way.
	flags() []string
	// reload does what install or uninstall has said that has to be done.
	reload(t *testing.T, said string)
	// doctor are flags of boltseal doctor.
	doctor() []string
}

// ways are all ways into all engines.
func ways() []way {
	return slices.Concat(dockerWays(), containerdWays(), podmanWays(), ociWays())
}
