// SPDX-License-Identifier: Apache-2.0

package control

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"strings"
	"time"
	"unicode"

	"github.com/boltseal/boltseal/agent/internal/cgroup"
	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/engine"
	"github.com/boltseal/boltseal/agent/internal/seal"
	"github.com/boltseal/boltseal/bpf"
)

// Admission is what a hook tells of a container.
type Admission struct {
	// Container is what is known of it; its slot and cgroup are found here.
	Container container.Container
	// CgroupsPath is the path of the OCI configuration, as it stands there.
	CgroupsPath string
}

// Admit takes a container in and answers when it is sealed: the kernel has been
// read back, or, when its cgroup does not exist yet, will seal it as it is made.
// It may be told of one container several times, in any order of ways. Errors
// wrap ErrInvalid, ErrRefused, ErrUnnamed, or seal.ErrNoRoom; then nothing was taken.
func (c *Controller) Admit(a Admission) (*container.Container, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	found, unread := c.findNames(&a.Container)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.name(&a.Container, found, unread); err != nil {
		return nil, err
	}
	return c.admit(a)
}

// admit is Admit of a container that has its names.
func (c *Controller) admit(a Admission) (*container.Container, error) {
	old := c.restarted(a.Container.ID)
	where, exists, err := c.locate(a)
	if err != nil {
		return nil, err
	}
	if old != nil && c.guessed(old) && (!exists || where.ID != old.CgroupID) {
		if err := c.yield(old); err != nil {
			return nil, err
		}
		old = nil
	}
	next := a.Container
	next.Added = time.Now()
	if old != nil {
		if old.CgroupID != 0 && exists && where.ID != old.CgroupID {
			return nil, fmt.Errorf("%w: container %s is in cgroup %s already", ErrRefused, next.ID, old.CgroupPath)
		}
		inherit(&next, old)
	}
	switch {
	case exists:
		return c.confirm(next, where)
	case old != nil && old.CgroupID != 0:
		return nil, fmt.Errorf("%w: container %s is in cgroup %s already, and there is none at %q", ErrRefused, next.ID, old.CgroupPath, a.CgroupsPath)
	}
	return c.expect(next, a.CgroupsPath)
}

// restarted is the container that has the id now, nil if none: one whose cgroup
// is gone has made room for the next of that id.
func (c *Controller) restarted(id string) *container.Container {
	old, known := c.Registry.ByID(id)
	if !known {
		return nil
	}
	if old.CgroupID != 0 && !c.exists(old) {
		c.remove(old)
		return nil
	}
	return old
}

// Withdraw takes back the announcement of a container that its runtime says is gone
// or was never made. What has a cgroup is not touched: the kernel tells of its end,
// and no word of a client unseals what may still run. An id that is not known is
// none to withdraw.
func (c *Controller) Withdraw(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.restarted(id)
	if known == nil || known.CgroupID != 0 {
		return nil
	}
	_, err := c.drop(known)
	return err
}

// drop forgets an announced container, unless its cgroup has been made and the
// kernel's word of that is on the way. The announcement goes first: after it nothing
// takes the slot any more.
func (c *Controller) drop(announced *container.Container) (dropped bool, err error) {
	c.withdraw(announced.Slot)
	if c.Seals.Slot(announced.Slot).State > uint32(bpf.WireSlotStateSLOT_EXPECTED) {
		return false, nil
	}
	c.remove(announced)
	return true, c.vacate(announced.Slot)
}

// guessed tells whether nothing but its cgroup is known of a container.
func (c *Controller) guessed(known *container.Container) bool {
	return c.guesses[known.Slot] == known.ID
}

// inherit keeps what an earlier word of the same container led to, and what it
// told and the next one does not: a policy must not lose the container because
// one way in knows less of it than another.
func inherit(next, old *container.Container) {
	next.Added, next.Slot = old.Added, old.Slot
	// Who was confirmed before it started is not late when it is told of again: a
	// runtime's plugin that reconnects tells of all that runs.
	confirmed := old.InitPID != 0 && old.CgroupID != 0
	next.InitPID = cmp.Or(next.InitPID, old.InitPID)
	if next.Name == next.ID {
		next.Name = old.Name
	}
	next.Image = cmp.Or(next.Image, old.Image)
	next.Runtime = cmp.Or(next.Runtime, old.Runtime)
	next.Bundle = cmp.Or(next.Bundle, old.Bundle)
	next.RootDir = cmp.Or(next.RootDir, old.RootDir)
	next.Privileged = cmp.Or(next.Privileged, old.Privileged)
	next.Sandbox = next.Sandbox || old.Sandbox
	next.Pod = inheritPod(next.Pod, old.Pod)
	next.Labels, next.Annotations = both(old.Labels, next.Labels), both(old.Annotations, next.Annotations)
	if old.CgroupID == 0 {
		return
	}
	next.CgroupID, next.CgroupPath = old.CgroupID, old.CgroupPath
	// Once late, always late; and who started without an answer is late although
	// the kernel had sealed it by its looks.
	next.Late = next.Late && !confirmed || old.Late
}

// inheritPod is inherit for the pod, whose labels an OCI hook does not see.
func inheritPod(next, old *container.Pod) *container.Pod {
	if next == nil || old == nil {
		return cmp.Or(next, old)
	}
	p := *next
	p.Name, p.Namespace, p.UID = cmp.Or(p.Name, old.Name), cmp.Or(p.Namespace, old.Namespace), cmp.Or(p.UID, old.UID)
	p.Labels, p.Annotations = both(old.Labels, p.Labels), both(old.Annotations, p.Annotations)
	return &p
}

// both are the labels or annotations of two words, of which the next wins. In
// containerd's bundles a hook finds some of the annotations that the plugin is told.
func both(old, next map[string]string) map[string]string {
	if len(next) == 0 {
		return old
	}
	all := maps.Clone(old)
	if all == nil {
		return next
	}
	maps.Copy(all, next)
	return all
}

const maxIDBytes = 512

func (a *Admission) check() error {
	if a.Container.ID == "" {
		// As clients of the compatible API leave it: the path ends with the id.
		a.Container.ID = path.Base("/" + strings.ReplaceAll(a.CgroupsPath, ":", "/"))
	}
	id := a.Container.ID
	if id == "/" || id == "." || id == ".." {
		return fmt.Errorf("%w request: containerID: empty or %q", ErrInvalid, "..")
	}
	if len(id) > maxIDBytes || strings.ContainsFunc(id, func(r rune) bool { return r == '/' || unicode.IsControl(r) }) {
		return fmt.Errorf("%w request: containerID %q: at most %d bytes, and no slash or control character", ErrInvalid, clip(id), maxIDBytes)
	}
	if _, err := cgroup.Expand(a.CgroupsPath, id, false); err != nil {
		return fmt.Errorf("%w request: %w", ErrInvalid, err)
	}
	return nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}

// exists tells whether a container's cgroup is still there.
func (c *Controller) exists(known *container.Container) bool {
	id, err := c.Cgroups.ID(known.CgroupPath)
	return err == nil && id == known.CgroupID
}

// locate finds the container's cgroup: by its init process, whose word cannot be
// wrong, or else by the path, where nothing may be yet.
func (c *Controller) locate(a Admission) (where cgroup.Location, exists bool, err error) {
	if pid := a.Container.InitPID; pid != 0 {
		where, err = c.Cgroups.OfPID(int(pid))
		if errors.Is(err, cgroup.ErrRoot) {
			return where, false, fmt.Errorf("%w: init process %d is in the host's root cgroup", ErrRefused, pid)
		}
		if err != nil {
			return where, false, fmt.Errorf("%w request: initPid: %w", ErrInvalid, err)
		}
		return where, true, c.claimable(where)
	}
	paths, err := cgroup.Expand(a.CgroupsPath, a.Container.ID, false)
	if err != nil {
		return where, false, fmt.Errorf("%w request: %w", ErrInvalid, err)
	}
	for _, p := range paths {
		id, err := c.Cgroups.ID(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return where, false, fmt.Errorf("%w: cgroupsPath: %w", ErrRefused, err)
		}
		where = cgroup.Location{Path: p, ID: id}
		return where, true, c.claimable(where)
	}
	return where, false, nil
}

// claimable refuses cgroups that hold the host's first process or the agent.
func (c *Controller) claimable(where cgroup.Location) error {
	for pid, who := range map[int]string{1: "the host's first process", os.Getpid(): "the agent"} {
		at, err := c.Cgroups.OfPID(pid)
		// Neither can be in a container's: the root, and what is outside of the
		// namespace that the container's path was found in.
		if errors.Is(err, cgroup.ErrRoot) || errors.Is(err, cgroup.ErrOutside) {
			continue
		}
		if err != nil {
			return err
		}
		if at.Path == where.Path || strings.HasPrefix(at.Path, strings.TrimSuffix(where.Path, "/")+"/") {
			return fmt.Errorf("%w: cgroup %s holds %s", ErrRefused, where.Path, who)
		}
	}
	return nil
}

// confirm seals a cgroup that exists for a container, or finds it sealed.
func (c *Controller) confirm(next container.Container, where cgroup.Location) (*container.Container, error) {
	sealed, ok, err := c.Seals.SealedAs(where.ID)
	if err != nil {
		return nil, err
	}
	taken := uint32(0)
	switch {
	case ok && sealed.Slot <= seal.NoRoom:
		return nil, fmt.Errorf("container %s: %w", next.ID, seal.ErrNoRoom)
	case ok:
		if where, err = c.sealedRoot(&next, where, sealed.Slot); err != nil {
			return nil, err
		}
	case next.Slot == 0:
		if taken, err = c.Seals.Take(); err != nil {
			return nil, err
		}
		next.Slot = taken
	}
	next.CgroupID, next.CgroupPath = where.ID, where.Path
	made, err := c.sealFor(next, where)
	if err != nil && taken != 0 {
		err = errors.Join(err, c.vacate(taken))
	}
	return made, err
}

// sealedRoot is the cgroup that a seal which the kernel set is rooted at, with
// the container's slot changed to the seal's. The runtime's init may be in a
// cgroup below it (crun under systemd).
func (c *Controller) sealedRoot(next *container.Container, where cgroup.Location, slot uint32) (cgroup.Location, error) {
	if holder, ok := c.Registry.BySlot(slot); ok && holder.Alive() && holder.ID != next.ID {
		if _, guessed := c.guesses[slot]; !guessed {
			return where, fmt.Errorf("%w: cgroup %s is container %s's", ErrRefused, where.Path, holder.ID)
		}
	}
	if next.Slot != 0 && next.Slot != slot {
		// Announced at a path that the kernel did not see, and found by its name.
		if err := c.vacate(next.Slot); err != nil {
			return where, err
		}
	}
	next.Slot = slot
	root := c.Seals.Slot(slot).CgroupId
	if root == where.ID {
		return where, nil
	}
	p, err := c.Cgroups.PathOf(root)
	if err != nil {
		return where, fmt.Errorf("find cgroup of container %s: %w", next.ID, err)
	}
	return cgroup.Location{Path: p, ID: root}, nil
}

// sealFor puts the container's rules in force, seals its cgroup, and registers
// it: in this order, so that there is no moment of a seal without rules.
func (c *Controller) sealFor(next container.Container, where cgroup.Location) (*container.Container, error) {
	before := c.subjects[next.Slot]
	if err := c.enforceFor(&next); err != nil {
		return nil, err
	}
	claim := seal.Claim{Cgroup: where.ID, InitPID: next.InitPID, Slot: next.Slot, Running: next.Late, Restored: restored(next.InitPID)}
	if _, _, err := c.Seals.Confirm(claim); err != nil {
		return nil, errors.Join(err, c.restore(next.Slot, before))
	}
	made, err := c.register(next, next.Slot)
	if err != nil {
		return nil, errors.Join(err, c.restore(next.Slot, before))
	}
	c.withdraw(next.Slot)
	return made, nil
}

// restored tells whether a container's init is a copy of criu, which becomes what was
// checkpointed without executing it. The init of one that is created is the runtime.
func restored(pid uint32) bool {
	if pid == 0 {
		return false
	}
	// Both can fail: the process may have ended.
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return strings.HasPrefix(string(comm), "criu") || strings.HasPrefix(path.Base(exe), "criu")
}

// withdraw takes back what is left of a container's announcement: a cgroup that is
// made at another of its paths from now on is not its own.
func (c *Controller) withdraw(slot uint32) {
	if err := c.Seals.Unexpect(slot); err != nil {
		c.Log.Error("withdraw announcement", "slot", slot, "error", err)
	}
}

// enforceFor makes a container the subject of its slot.
func (c *Controller) enforceFor(next *container.Container) error {
	s := &subject{container: next, slots: func() []uint32 { return []uint32{next.Slot} }}
	s.keys = c.keysFor(s)
	if err := c.apply([]*subject{s}, false); err != nil {
		return err
	}
	c.subjects[next.Slot] = s
	return nil
}

// restore puts back whose a slot was before.
func (c *Controller) restore(slot uint32, before *subject) error {
	if before != nil {
		c.subjects[slot] = before
		return c.apply([]*subject{before}, false)
	}
	delete(c.subjects, slot)
	return c.applyIdle(slot)
}

// applyIdle gives a slot the default set.
func (c *Controller) applyIdle(slot uint32) error {
	return c.Engine.Apply([]engine.Assignment{c.assignment(c.idle.keys, []uint32{slot})}, false)
}

// register puts the container in the registry, in place of a guess.
func (c *Controller) register(next container.Container, slot uint32) (*container.Container, error) {
	if guess, ok := c.guesses[slot]; ok && guess != next.ID {
		if _, err := c.Registry.Remove(guess, time.Now()); err != nil && !errors.Is(err, container.ErrNotFound) {
			return nil, err
		}
	}
	made := &next
	if err := c.Registry.Put(made); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	delete(c.guesses, slot)
	if s := c.subjects[slot]; s != nil {
		s.container = made
		if keys := c.keysFor(s); keys != s.keys {
			s.keys = keys
			return made, c.apply([]*subject{s}, false)
		}
	}
	return made, nil
}

// expect lets the kernel seal the container as its cgroup is made.
func (c *Controller) expect(next container.Container, cgroupsPath string) (*container.Container, error) {
	paths, err := cgroup.Expand(cgroupsPath, next.ID, false)
	if err != nil {
		return nil, fmt.Errorf("%w request: %w", ErrInvalid, err)
	}
	fresh := next.Slot == 0
	if fresh {
		if next.Slot, err = c.Seals.Take(); err != nil {
			return nil, err
		}
	}
	next.CgroupPath = paths[0]
	made, err := c.announce(next, paths)
	if err != nil && fresh {
		delete(c.subjects, next.Slot)
		err = errors.Join(err, c.vacate(next.Slot))
	}
	return made, err
}

func (c *Controller) announce(next container.Container, paths []string) (*container.Container, error) {
	if err := c.enforceFor(&next); err != nil {
		return nil, err
	}
	for _, p := range paths {
		if err := c.Seals.Expect(next.Slot, p); err != nil {
			switch {
			case errors.Is(err, seal.ErrOtherContainer):
				err = fmt.Errorf("%w: %w", ErrRefused, err)
			case errors.Is(err, seal.ErrPath):
				err = fmt.Errorf("%w request: cgroupsPath: %w", ErrInvalid, err)
			}
			return nil, err
		}
	}
	return c.register(next, next.Slot)
}

// vacate gives a slot back that nothing runs in.
func (c *Controller) vacate(slot uint32) error {
	delete(c.subjects, slot)
	delete(c.guesses, slot)
	return errors.Join(c.applyIdle(slot), c.Seals.Free(slot))
}

// remove takes a container out of the registry. Its slot stays its own until the
// last task that carries it ends.
func (c *Controller) remove(gone *container.Container) {
	if _, err := c.Registry.Remove(gone.ID, time.Now()); err != nil && !errors.Is(err, container.ErrNotFound) {
		c.Log.Error("remove container", "container", gone.ID, "error", err)
	}
	c.withdraw(gone.Slot)
}
