// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/cgroup"
	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/seal"
	"github.com/boltseal/boltseal/bpf"
)

// sweepEvery is how often slots are looked over whose end no event told: the
// ring may have been full.
const sweepEvery = time.Second

// Run frees what is gone until the context ends.
func (c *Controller) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			c.Sweep(now)
		}
	}
}

// Sweep frees slots of containers that are gone, withdraws announcements that no
// cgroup came for, and forgets containers that were removed long ago.
func (c *Controller) Sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notice()
	gone, err := c.Seals.Gone()
	if err != nil {
		c.Log.Error("look for containers that are gone", "error", err)
	}
	for _, slot := range gone {
		if known, ok := c.Registry.BySlot(slot); ok && known.Alive() {
			c.remove(known)
		}
		c.free(slot)
	}
	for slot, s := range c.subjects {
		if s.container.CgroupID != 0 || now.Sub(s.container.Added) < c.ExpectFor {
			continue
		}
		dropped, err := c.drop(s.container)
		if err != nil {
			c.Log.Error("free slot", "slot", slot, "error", err)
		}
		if dropped {
			c.Log.Warn("announced container never came", "container", s.container.ID, "cgroup", s.container.CgroupPath)
		}
	}
	c.Registry.Forget(now.Add(-c.RemovedGrace))
}

// notice takes in slots that the kernel took and whose event was lost.
func (c *Controller) notice() {
	for slot := seal.NoRoom + 1; slot < c.Seals.Slots(); slot++ {
		if c.subjects[slot] != nil {
			continue
		}
		kernel := c.Seals.Slot(slot)
		if kernel.State < uint32(bpf.WireSlotStateSLOT_MAPPED) {
			continue
		}
		c.Seals.Hold(slot)
		p, err := c.Cgroups.PathOf(kernel.CgroupId)
		if err != nil {
			continue // gone already: the slot is freed when no task carries it
		}
		c.guess(slot, kernel.CgroupId, p, false)
	}
}

func (c *Controller) free(slot uint32) {
	if err := c.vacate(slot); err != nil {
		c.Log.Error("free slot", "slot", slot, "error", err)
	}
}

// Sealed handles the kernel's word that it sealed a cgroup: what was announced
// has its cgroup now, and what was not is known by its cgroup's name until a
// hook tells more.
func (c *Controller) Sealed(slot uint32, cgroupID uint64, cgroupPath string, by bpf.WireSealedBy) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case by == bpf.WireSealedBySEALED_BY_NOBODY || slot == seal.NoRoom:
		c.Log.Error("container found no room for its seal: ending it", "cgroup", cgroupPath)
		if err := c.Cgroups.Kill(cgroupPath); err != nil {
			c.Log.Error("end unsealed container", "cgroup", cgroupPath, "error", err)
		}
		return
	case slot == seal.Host:
		return
	}
	c.Seals.Hold(slot)
	if known, ok := c.Registry.BySlot(slot); ok && known.Alive() {
		switch {
		case known.CgroupID == cgroupID:
			return
		case c.guessed(known): // by a cgroup above its own, which the runtime made first
			c.remove(known)
			c.guess(slot, cgroupID, cgroupPath, known.Late)
			return
		case known.CgroupID != 0:
			return
		}
		c.withdraw(slot)
		next := *known
		next.CgroupID, next.CgroupPath = cgroupID, cgroupPath
		if err := c.Registry.Put(&next); err != nil {
			c.Log.Error("register sealed container", "container", next.ID, "error", err)
			return
		}
		if s := c.subjects[slot]; s != nil {
			s.container = &next
		}
		return
	}
	if c.Seals.Slot(slot).CgroupId != cgroupID {
		return // told late: the slot has moved on
	}
	c.guess(slot, cgroupID, cgroupPath, false)
}

// guess registers a container of which only the cgroup is known. Anybody who may
// make cgroups can name one as another container's is named: the first has the id.
func (c *Controller) guess(slot uint32, cgroupID uint64, cgroupPath string, late bool) {
	id := c.idOf(cgroupPath)
	if holder, taken := c.Registry.ByID(id); taken && holder.Slot != slot {
		id = namesake(id, cgroupID)
	}
	next := container.Container{
		ID: id, Name: id, CgroupID: cgroupID, CgroupPath: cgroupPath, Slot: slot, Guess: true, Late: late,
		Added: time.Now(),
	}
	if err := c.enforceFor(&next); err != nil {
		c.Log.Error("enforce for unannounced container", "cgroup", cgroupPath, "error", err)
		return
	}
	if err := c.Registry.Put(&next); err != nil {
		c.Log.Error("register unannounced container", "cgroup", cgroupPath, "error", err)
		return
	}
	c.guesses[slot] = id
}

// namesake is the id of a container whose own another one has.
func namesake(id string, cgroupID uint64) string { return fmt.Sprintf("%s@%d", id, cgroupID) }

// yield gives a guess another id: a hook knows whose it is.
func (c *Controller) yield(guess *container.Container) error {
	next := *guess
	next.ID = namesake(guess.ID, guess.CgroupID)
	if _, err := c.Registry.Remove(guess.ID, time.Now()); err != nil {
		return err
	}
	if err := c.Registry.Put(&next); err != nil {
		return err
	}
	c.guesses[next.Slot] = next.ID
	if s := c.subjects[next.Slot]; s != nil {
		s.container = &next
	}
	return nil
}

// idOf is what a cgroup's name says of the container's id.
func (c *Controller) idOf(cgroupPath string) string {
	name := strings.TrimSuffix(path.Base(cgroupPath), ".scope")
	for _, prefix := range c.CgroupPrefixes {
		if rest, ok := strings.CutPrefix(name, prefix); ok && isID(rest) {
			return rest
		}
	}
	return name
}

const idDigits = 64

func isID(s string) bool {
	return len(s) == idDigits && strings.Trim(s, "0123456789abcdef") == ""
}

// Gone handles the kernel's word that a container's cgroup was removed. The slot
// is freed by Sweep, when no task carries it any more.
func (c *Controller) Gone(slot uint32, cgroupID uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.Registry.BySlot(slot); ok && known.Alive() && known.CgroupID == cgroupID {
		c.remove(known)
	}
}

// Unsealed handles the kernel's word that it could not seal a task of a
// container: it must not run on, for it could leave its cgroup.
func (c *Controller) Unsealed(tgid, slot uint32) {
	at, err := c.Cgroups.OfPID(int(tgid))
	if err != nil {
		return // gone
	}
	if sealed, ok, err := c.Seals.SealedAs(at.ID); err != nil || !ok || sealed.Slot != slot {
		return // the id is another process's by now
	}
	c.Log.Error("task could not be sealed: killing it", "pid", tgid, "cgroup", at.Path)
	if err := unix.Kill(int(tgid), unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		c.Log.Error("kill unsealed task", "pid", tgid, "error", err)
	}
}

// AdoptRunning seals containers that ran before the agent did, as far as their
// cgroups' names tell them. They are late.
func (c *Controller) AdoptRunning() error {
	var found []string
	err := c.Cgroups.Walk(func(p string, _ uint64) error {
		name := strings.TrimSuffix(path.Base(p), ".scope")
		if isID(name) || slices.ContainsFunc(c.CgroupPrefixes, func(prefix string) bool {
			rest, ok := strings.CutPrefix(name, prefix)
			return ok && isID(rest)
		}) {
			found = append(found, p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range found {
		if err := c.adopt(p); err != nil {
			c.Log.Warn("adopt running container", "cgroup", p, "error", err)
		}
	}
	return nil
}

// ErrGone says that the cgroup of a container is not there any more.
var ErrGone = errors.New("its cgroup is gone")

// Recall takes in a container that an earlier agent knew, with what that one was told of
// it. It ran while there was no agent, and is late. One that is known already is left as
// it is. Errors wrap ErrGone, ErrRefused, or seal.ErrNoRoom.
func (c *Controller) Recall(known container.Container) error {
	if id, err := c.Cgroups.ID(known.CgroupPath); errors.Is(err, fs.ErrNotExist) || err == nil && id != known.CgroupID {
		return fmt.Errorf("recall container %s: %w", known.ID, ErrGone)
	} else if err != nil {
		return fmt.Errorf("recall container %s: %w", known.ID, err)
	}
	where := cgroup.Location{Path: known.CgroupPath, ID: known.CgroupID}
	if err := c.claimable(where); err != nil {
		return fmt.Errorf("recall container %s: %w", known.ID, err)
	}
	if known.Guess {
		return c.adopt(known.CgroupPath)
	}
	known.Slot, known.Late, known.Added = 0, true, time.Now()
	if !c.runsIn(int(known.InitPID), &known) {
		known.InitPID = 0 // it has ended, and the pid may be another's
	}
	// A name that cannot be found now is the one that was found then.
	found, unread := c.findNames(&known)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, told := c.Registry.ByID(known.ID); told {
		return nil
	}
	if unread == nil {
		known = named(&known, found)
	}
	if _, err := c.confirm(known, where); err != nil {
		return fmt.Errorf("recall container %s: %w", known.ID, err)
	}
	return nil
}

func (c *Controller) adopt(p string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, err := c.Cgroups.ID(p)
	if err != nil {
		return err
	}
	if _, sealed, err := c.Seals.SealedAs(id); err != nil || sealed {
		return err // below a container, or announced meanwhile
	}
	slot, err := c.Seals.Take()
	if err != nil {
		return err
	}
	if _, _, err = c.Seals.Confirm(seal.Claim{Cgroup: id, Slot: slot, Running: true}); err != nil {
		return errors.Join(err, c.vacate(slot))
	}
	c.guess(slot, id, p, true)
	return nil
}
