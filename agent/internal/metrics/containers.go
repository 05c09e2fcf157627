// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"slices"
	"time"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/bpf"
)

// containerChanged takes in that a container has come, changed or gone.
func (m *Metrics) containerChanged(c container.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if was := c.Old; was != nil && was.Alive() {
		m.late -= ifLate(was)
		m.groups.leave(m.groups.of(was))
	}
	if is := c.New; is.Alive() {
		m.late += ifLate(is)
		m.groups.join(m.groups.of(is))
		m.hold(is)
	} else {
		m.charge(is.Slot)
	}
	renamed := c.Old != nil && c.New.Alive() && !slices.Equal(workloadValues(m.options.Labels, c.Old), workloadValues(m.options.Labels, c.New))
	if m.groups.expire() || renamed {
		m.changed.Add(1)
	}
}

func ifLate(c *container.Container) int {
	if c.Late {
		return 1
	}
	return 0
}

// hold takes in whose a slot is.
func (m *Metrics) hold(c *container.Container) {
	if c.Slot == 0 {
		return
	}
	s := m.slots[c.Slot]
	if s == nil {
		s = &slot{}
		m.slots[c.Slot] = s
	}
	s.of = m.groups.of(c)
}

// charge charges what a slot's container has lost to its workload, before another one
// can have the slot.
func (m *Metrics) charge(of uint32) {
	if of == 0 {
		return
	}
	if lost, err := m.options.LostOf(of); err != nil {
		m.failures["lost"]++
	} else {
		m.chargeSlot(of, lost)
	}
}

// chargeSlot charges what has been lost since the last time.
func (m *Metrics) chargeSlot(of uint32, lost uint64) {
	if lost == 0 {
		return
	}
	s := m.slots[of]
	if s == nil {
		s = &slot{of: m.groupOf(of)}
		m.slots[of] = s
	}
	if lost < s.lost {
		s.lost = 0 // it was reset for another container
	}
	if lost > s.lost {
		m.lost.at(s.of, nil, "").count.Add(lost - s.lost)
		s.lost = lost
	}
}

// observe takes the times of a slot that are known by now.
func (m *Metrics) observe(of uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.observeSlot(of, m.options.Slot(of))
}

func (m *Metrics) observeSlot(of uint32, kernel bpf.WireSlot) {
	if kernel.SealedNs == 0 || kernel.State < uint32(bpf.WireSlotStateSLOT_MAPPED) {
		return
	}
	s := m.sealedSlot(of, kernel.SealedNs)
	for _, stage := range []struct {
		name string
		at   uint64
		done *bool
	}{
		{"first_task", kernel.FirstTaskNs, &s.task},
		{"first_exec", kernel.FirstExecNs, &s.exec},
		{"armed", kernel.ArmedNs, &s.armed},
	} {
		// A container that ran before its seal has no such times.
		if !*stage.done && stage.at >= kernel.SealedNs {
			*stage.done = true
			m.since(stage.name, kernel.SealedNs, stage.at)
		}
	}
}

// sealedSlot is a slot with the seal of that time; of another one nothing has been
// observed.
func (m *Metrics) sealedSlot(of uint32, sealed uint64) *slot {
	s := m.slots[of]
	if s == nil {
		s = &slot{of: m.groupOf(of)}
		m.slots[of] = s
	}
	if s.sealed != sealed {
		s.sealed, s.task, s.exec, s.armed, s.acknowledge = sealed, false, false, false, false
	}
	return s
}

func (m *Metrics) since(stage string, from, to uint64) {
	m.sinceSeal.WithLabelValues(stage).Observe(time.Duration(to - from).Seconds())
}

// Hooked takes in that a hook told of a container: how long it took to answer, and
// the container, which is nil when it was refused. Its cgroup is known when it was
// sealed, and not when it was announced.
func (m *Metrics) Hooked(took time.Duration, c *container.Container) {
	result := "failed"
	switch {
	case c != nil && c.CgroupID != 0:
		result = "sealed"
	case c != nil:
		result = "announced"
	}
	m.hooks.WithLabelValues(result).Observe(took.Seconds())
	if result != "sealed" || c.Late {
		return
	}
	now := m.options.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	kernel := m.options.Slot(c.Slot)
	if kernel.SealedNs == 0 || kernel.CgroupId != c.CgroupID {
		return // gone meanwhile
	}
	if s := m.sealedSlot(c.Slot, kernel.SealedNs); !s.acknowledge && now >= kernel.SealedNs {
		s.acknowledge = true
		m.since("acknowledged", kernel.SealedNs, now)
	}
}
