// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// Starts are measured in rounds, so that what else the machine does is the same for all.
const (
	rounds   = 4
	perRound = 5 // of each kind
)

// switched is an engine that starts containers without boltseal only when it is set up
// so, and not one by one.
type switched interface {
	with(t *testing.T)
	without(t *testing.T)
}

// TestAddedTime reports what boltseal adds to the time in which a container is created
// and started. It holds nothing: machines differ.
func TestAddedTime(t *testing.T) {
	release(t)
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		var sealed, beside, alone []time.Duration
		for range rounds {
			r.away(t)
			r.plain(t, func() {
				r.timed(t, true) // not counted: the first after a pause takes longer
				for range perRound {
					alone = append(alone, r.timed(t, true))
				}
			})
			r.up(t)
			r.plain(t, func() {
				r.timed(t, true)
				for range perRound {
					beside = append(beside, r.timed(t, true))
				}
			})
			r.timed(t, false)
			for range perRound {
				sealed = append(sealed, r.timed(t, false))
			}
		}
		without := median(alone)
		testenv.Report(t, "%s %s: created and started in %d ms, %.2f times the %d ms without boltseal (%.2f times with an agent beside); medians of %d",
			w, r.title(), median(sealed).Milliseconds(), ratio(median(sealed), without), without.Milliseconds(), ratio(median(beside), without), len(sealed))
	})
}

// plain does something while containers can be started without boltseal.
func (r *rig) plain(t *testing.T, do func()) {
	t.Helper()
	if e, ok := r.engine.(switched); ok {
		e.without(t)
		defer e.with(t)
	}
	do()
}

// timed creates and starts a container and returns how long that took.
func (r *rig) timed(t *testing.T, plain bool) time.Duration {
	t.Helper()
	c := container{name: agentenv.Mark(), mark: agentenv.Mark(), shared: testenv.Dir(t), args: []string{"/bin/sleep", "1000"}, plain: plain}
	begin := time.Now()
	id := r.create(t, c)
	result := r.start(t, id)
	took := time.Since(begin)
	if result.Code != 0 {
		t.Errorf("start: %s\n%s", result, r.log())
	}
	if asked := strings.Contains(r.log(), id); asked == plain {
		t.Errorf("plain is %v, and the hooks say %s", plain, r.log())
	}
	r.remove(t, id)
	return took
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
