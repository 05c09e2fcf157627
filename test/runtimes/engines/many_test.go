// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/boltseal/boltseal/test/testenv"
)

const (
	many   = 300 // containers
	atOnce = 16
)

// TestThreeHundred starts many containers at once whose entrypoint is the forbidden
// act itself: none survives it.
func TestThreeHundred(t *testing.T) {
	release(t)
	eachWay(t, func(t *testing.T, w way) {
		r := newRig(t, w)
		if e, ok := r.engine.(crowded); ok {
			e.crowd(t)
		}
		var next, running, most, killedThem, survived, refused atomic.Int64
		begin := time.Now()
		t.Run("at once", func(t *testing.T) {
			for n := range atOnce {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					t.Parallel()
					for next.Add(1) <= many {
						raise(&most, running.Add(1))
						switch result, started := r.forbidden(t); {
						case !started:
							refused.Add(1)
							t.Errorf("it was not started: %s; the hook says %s", result, r.log())
						case result.Code == killed && !strings.Contains(result.Stdout, testenv.Secret):
							killedThem.Add(1)
						default:
							survived.Add(1)
							t.Errorf("it survived: %s", result)
						}
						running.Add(-1)
					}
				})
			}
		})
		took := time.Since(begin)
		testenv.Report(t, "%s %s: %d containers, %d at a time, whose entrypoint is the forbidden act: %d survived, %d not started, %d killed, in %.0f s",
			w, r.title(), many, most.Load(), survived.Load(), refused.Load(), killedThem.Load(), took.Seconds())
		if killedThem.Load() != many || most.Load() != atOnce {
			t.Errorf("%d killed, %d at a time", killedThem.Load(), most.Load())
		}
		if n := r.agent.PolicyStatus(t, r.selected).GetStats().GetActionCounters().GetSignal(); n != many {
			t.Errorf("the policy counts %d kills", n)
		}
	})
}

// crowded is an engine that has to prepare for many containers at once.
type crowded interface {
	crowd(t *testing.T)
}

// forbidden runs a container whose entrypoint is the forbidden act to its end.
func (r *rig) forbidden(t *testing.T) (result testenv.Result, started bool) {
	t.Helper()
	s := r.made(t, r.selected, "/bin/cat", "/etc/shadow")
	if result := s.start(t, s.id); result.Code != 0 || result.Err != nil {
		return result, false
	}
	return s.wait(t, s.id), true
}

// raise makes a maximum be at least n.
func raise(maximum *atomic.Int64, n int64) {
	for {
		was := maximum.Load()
		if n <= was || maximum.CompareAndSwap(was, n) {
			return
		}
	}
}
