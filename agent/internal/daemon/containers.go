// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/account"
	"github.com/boltseal/boltseal/agent/internal/config"
	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/agent/internal/enrich"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/agent/internal/store"
)

// containerStarted tells when a container began, in ns since boot: with its first task in
// the kernel's count; one that ran before it was sealed, with its init process, if
// anybody told of it. 0: not known.
func (a *agent) containerStarted(c *container.Container) uint64 {
	if c.Late {
		return a.initStarted(c)
	}
	slot := a.seals.Slot(c.Slot)
	if c.Slot == 0 || slot.CgroupId != c.CgroupID {
		return 0 // not made yet, or gone
	}
	return cmp.Or(slot.FirstTaskNs, slot.SealedNs)
}

func (a *agent) initStarted(c *container.Container) uint64 {
	if c.InitPID == 0 {
		return 0
	}
	start, err := process.Started("/proc", c.InitPID)
	if err != nil {
		return 0
	}
	// Asked after: the pid is still that of a process of the container.
	at, err := a.cgroups.OfPID(int(c.InitPID))
	if err != nil || at.ID != c.CgroupID && !strings.HasPrefix(at.Path, strings.TrimSuffix(c.CgroupPath, "/")+"/") {
		return 0
	}
	return start
}

// storeDir is beside the agent's socket, as is what hooks leave.
const storeDir = "containers"

// recall takes in what an earlier agent knew, and has what this one knows written down
// from now on.
func (a *agent) recall() error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	known, err := store.Open(filepath.Join(filepath.Dir(a.config.SocketPath()), storeDir), strings.TrimSpace(string(boot)), a.log.With("component", "store"))
	if err != nil {
		return err
	}
	all, err := known.Containers()
	if err != nil {
		return err
	}
	a.registry.Subscribe(known.Follow)
	for _, c := range all {
		switch err := a.control.Recall(c); {
		case errors.Is(err, control.ErrGone):
			if err := known.Drop(c.ID); err != nil {
				a.log.Error("forget container that is gone", "container", c.ID, "error", err)
			}
		case err != nil:
			a.log.Error("container that an earlier agent knew is not sealed", "container", c.ID, "error", err)
		}
	}
	return nil
}

// followNames has containers named anew when their engines' records change. Without it
// they keep the names that they started with, and the agent goes on.
func (a *agent) followNames(ctx context.Context) error {
	log := a.log.With("component", "names")
	if err := a.names.Follow(ctx, a.registry, a.control.Renamed, log); err != nil {
		log.Error("follow containers' names", "error", err)
	}
	return nil
}

func ancestorsOf(c config.Config) []enrich.AncestorsOf {
	kinds := make([]enrich.AncestorsOf, 0, len(c.EnableAncestors))
	for _, kind := range c.EnableAncestors {
		kinds = append(kinds, enrich.AncestorsOf(kind))
	}
	return kinds
}

// users is nil when users are to have no names.
func users(c config.Config) enrich.Users {
	if c.UsernameMetadata != "unix" {
		return nil
	}
	return account.New("/etc/passwd")
}
