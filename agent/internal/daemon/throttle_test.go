// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/export"
	"github.com/boltseal/boltseal/agent/internal/seal"
	"github.com/boltseal/boltseal/agent/internal/throttle"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Subscribers hear by the path of its cgroup who is throttled, also when it ends
// and the path is not there any more.
func TestThrottlingIsTold(t *testing.T) {
	t.Parallel()
	registry := container.New(0)
	if err := registry.Put(&container.Container{ID: "c", Slot: 5, CgroupID: 50, CgroupPath: "/pods/c"}); err != nil {
		t.Fatal(err)
	}
	paths := map[uint64]string{7: "/system.slice/x", 51: "/pods/c/below"}
	boot := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var told []string
	r := &throttling{
		origin: export.Origin{Node: "node"}, containers: registry, log: slog.New(slog.DiscardHandler),
		pathOf: func(id uint64) (string, error) {
			if path, ok := paths[id]; ok {
				return path, nil
			}
			return "", fs.ErrNotExist
		},
		bootTime: func() (time.Time, error) { return boot, nil },
		publish: func(m *tetragon.GetEventsResponse) {
			p := m.GetProcessThrottle()
			told = append(told, fmt.Sprintf("%s %s %s %v", m.GetNodeName(), p.GetType(), p.GetCgroup(), m.GetTime().AsTime().Sub(boot)))
		},
	}
	r.begin(throttle.Rate{Events: 1, Interval: time.Second})
	for _, of := range []struct {
		slot   uint32
		cgroup uint64
	}{{5, 51}, {seal.Host, 7}, {seal.Host, 8}, {6, 9}} {
		r.Passes(of.slot, of.cgroup, uint64(time.Second))
		r.Passes(of.slot, of.cgroup, uint64(2*time.Second)-1)
	}
	if _, err := registry.Remove("c", time.Now()); err != nil {
		t.Fatal(err)
	}
	registry.Forget(time.Now().Add(time.Hour))
	r.handle(&event.CgroupGone{Header: event.Header{Ktime: uint64(3 * time.Second)}, Slot: 5})
	clear(paths)
	r.Sweep(uint64(7 * time.Second))
	if len(told) < 5 {
		t.Fatalf("told %q", told)
	}
	slices.Sort(told[5:])
	want := []string{
		"node THROTTLE_START /pods/c 1.999999999s", "node THROTTLE_START /system.slice/x 1.999999999s",
		"node THROTTLE_START cgroup 8 1.999999999s", "node THROTTLE_START cgroup 9 1.999999999s",
		"node THROTTLE_STOP /pods/c 3s",
		"node THROTTLE_STOP /system.slice/x 7s", "node THROTTLE_STOP cgroup 8 7s", "node THROTTLE_STOP cgroup 9 7s",
	}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	if len(r.names) > 0 {
		t.Errorf("%d names are left", len(r.names))
	}
}
