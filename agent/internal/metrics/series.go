// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/boltseal/boltseal/agent/internal/container"
)

// MaxLabelSets is the most label sets that a metric of workloads has, beside those
// of "other".
const MaxLabelSets = 2000

// share is how many of them one workload can have: it chooses what programs it has.
const share = MaxLabelSets / 8

// separator cannot be in a label value, which is valid UTF-8.
const separator = "\xff"

// series is one label set and its count.
type series struct {
	values []string
	count  atomic.Uint64
}

// counters is a counter of workloads. What follows is called with the lock of its
// Metrics, but for count.
type counters struct {
	name string
	// own is how many labels come before those of workloads.
	own int
	// binary: the last label is the binary.
	binary bool
	// keep: what finds no room keeps the values of the first labels, of which there
	// are few.
	keep bool
	sets map[string]*series
	// refused is how often a set found no room.
	refused uint64
}

// at is the series of a workload, or, without room, one that is less exact. The values
// are cut.
func (c *counters) at(g *group, own []string, binary string) *series {
	values := slices.Concat(own, g.values)
	if c.binary {
		values = append(values, binary)
	}
	if s := c.take(g, values, share); s != nil {
		return s
	}
	c.refused++
	if c.binary {
		values[len(values)-1] = other
		// One more for each of the own labels, so that a workload that has used up its
		// share stays itself.
		if s := c.take(g, values, MaxLabelSets); s != nil {
			return s
		}
	}
	for i := range values {
		if i >= c.own || !c.keep {
			values[i] = other
		}
	}
	return c.take(nil, values, MaxLabelSets)
}

// take is the series of values; nil when there is no room for it. That of no group
// always has room.
func (c *counters) take(g *group, values []string, share int) *series {
	key := strings.Join(values, separator)
	if s := c.sets[key]; s != nil {
		return s
	}
	if g != nil {
		if len(c.sets) >= MaxLabelSets || len(g.keys[c]) >= share {
			return nil
		}
		g.keys[c] = append(g.keys[c], key)
	}
	s := &series{values: slices.Clone(values)}
	c.sets[key] = s
	return s
}

// group is the containers that have the same labels.
type group struct {
	values []string
	// containers is how many of them are alive.
	containers int
	// ends is when the group ends if none is; queued: it is among those that end.
	ends   time.Time
	queued bool
	// keys are its series.
	keys map[*counters][]string
}

// groups are the workloads.
type groups struct {
	labels []string
	grace  time.Duration
	all    map[string]*group
	// ending are groups without containers, those that lost theirs first before others.
	ending []*group
	// host is of what is in no container; it never ends.
	host *group
	now  func() time.Time
}

func newGroups(labels []string, grace time.Duration) *groups {
	g := &groups{labels: labels, grace: grace, all: map[string]*group{}, now: time.Now}
	g.host = g.of(nil)
	g.host.containers = 1
	return g
}

// of is the group of a container; nil: that of the host.
func (g *groups) of(c *container.Container) *group {
	if c == nil && g.host != nil {
		return g.host
	}
	values := workloadValues(g.labels, c)
	key := strings.Join(values, separator)
	found := g.all[key]
	if found == nil {
		found = &group{values: values, keys: map[*counters][]string{}}
		g.all[key] = found
		g.end(found)
	}
	return found
}

// join and leave take in that a container of a group has come or gone.
func (g *groups) join(of *group) { of.containers++ }

func (g *groups) leave(of *group) {
	of.containers--
	g.end(of)
}

// end begins the grace of a group without containers.
func (g *groups) end(of *group) {
	if of.containers > 0 {
		return
	}
	of.ends = g.now().Add(g.grace)
	if !of.queued {
		of.queued = true
		g.ending = append(g.ending, of)
	}
}

// expire drops groups whose grace is over, with their series, and tells whether there
// were any.
func (g *groups) expire() (dropped bool) {
	now := g.now()
	for len(g.ending) > 0 {
		first := g.ending[0]
		if first.containers == 0 && now.Before(first.ends) {
			// One that had containers in between ends later than its place tells, and holds up
			// those behind it for no longer than a grace.
			return dropped
		}
		g.ending = g.ending[1:]
		first.queued = false
		if first.containers > 0 {
			continue
		}
		for c, keys := range first.keys {
			for _, key := range keys {
				delete(c.sets, key)
			}
		}
		delete(g.all, strings.Join(first.values, separator))
		dropped = true
	}
	return dropped
}
