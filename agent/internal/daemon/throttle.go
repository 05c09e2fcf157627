// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/export"
	"github.com/boltseal/boltseal/agent/internal/seal"
	"github.com/boltseal/boltseal/agent/internal/throttle"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// throttleSweep is how often it is looked for cgroups that have fallen silent.
const throttleSweep = time.Second

// throttling tells subscribers when events of cgroups begin, and cease, to be left out.
type throttling struct {
	*throttle.Limiter
	origin     export.Origin
	containers interface {
		BySlot(slot uint32) (*container.Container, bool)
	}
	pathOf   func(cgroup uint64) (string, error)
	bootTime func() (time.Time, error)
	publish  func(*tetragon.GetEventsResponse)
	log      *slog.Logger
	// names are what was told of those that are throttled now.
	names map[throttledKey]string
}

type throttledKey struct {
	slot   uint32
	cgroup uint64
}

// begin makes the limiter.
func (t *throttling) begin(rate throttle.Rate) {
	t.names = map[throttledKey]string{}
	t.Limiter = throttle.New(rate, t.tell)
}

func (t *throttling) tell(c throttle.Change) {
	key := throttledKey{c.Slot, c.Cgroup}
	kind, name := tetragon.ThrottleType_THROTTLE_START, ""
	if c.Began {
		name = t.name(c)
		t.names[key] = name
	} else {
		kind, name = tetragon.ThrottleType_THROTTLE_STOP, t.names[key]
		delete(t.names, key)
	}
	at := time.Now()
	if boot, err := t.bootTime(); err == nil {
		at = boot.Add(time.Duration(c.At))
	}
	if c.Began {
		t.log.Warn("too many processes: execs and exits are left out", "cgroup", name)
	} else {
		t.log.Info("execs and exits are told again", "cgroup", name)
	}
	t.publish(&tetragon.GetEventsResponse{
		NodeName: t.origin.Node, ClusterName: t.origin.Cluster, NodeLabels: t.origin.Labels, Time: timestamppb.New(at),
		Event: &tetragon.GetEventsResponse_ProcessThrottle{ProcessThrottle: &tetragon.ProcessThrottle{Type: kind, Cgroup: name}},
	})
}

// name is the path of a cgroup: a container's is that of its root.
func (t *throttling) name(c throttle.Change) string {
	if c.Slot != seal.Host {
		if known, ok := t.containers.BySlot(c.Slot); ok && known.CgroupPath != "" {
			return known.CgroupPath
		}
	}
	path, err := t.pathOf(c.Cgroup)
	if err != nil {
		return fmt.Sprintf("cgroup %d", c.Cgroup) // gone
	}
	return path
}

// throttled is how many events of a slot's container were left out.
func (e *events) throttled(slot uint32) uint64 {
	if e.throttle == nil {
		return 0
	}
	return e.throttle.LeftOut(slot)
}

// handle forgets a container that is gone.
func (t *throttling) handle(ev event.Event) {
	if gone, ok := ev.(*event.CgroupGone); ok {
		t.Forget(gone.Slot, gone.Ktime)
	}
}

// run ends what is over until the context ends.
func (t *throttling) run(ctx context.Context) error {
	tick := time.NewTicker(throttleSweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			var now unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
				return fmt.Errorf("read clock: %w", err)
			}
			t.Sweep(uint64(now.Nano()))
		}
	}
}
