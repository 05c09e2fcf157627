// SPDX-License-Identifier: Apache-2.0

package control

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/names"
	"github.com/boltseal/boltseal/agent/internal/policy"
)

// ErrUnnamed says that a container's engine knows its name and labels, that they
// could not be read, and that policies select by them: it would start with the wrong
// ones.
var ErrUnnamed = errors.New("container's name and labels are not known")

// Names finds what people call a container: a names.Finder. It may take some time, and
// is not asked under the controller's lock.
type Names interface {
	Find(*container.Container) (names.Names, error)
}

// findNames asks for a container's names, if there is anybody to ask.
func (c *Controller) findNames(of *container.Container) (names.Names, error) {
	if c.Names == nil {
		return names.Names{}, names.ErrNone
	}
	return c.Names.Find(of)
}

// name gives a container that a hook tells of the names that were found, before its
// policies are chosen. Without them it is taken in as long as no policy asks.
func (c *Controller) name(told *container.Container, found names.Names, err error) error {
	switch {
	case err == nil:
		*told = named(told, found)
		return nil
	case errors.Is(err, names.ErrNone):
		return nil
	}
	for key, h := range c.policies {
		if h.enabled && selectsByName(h.compiled.Policy) {
			return fmt.Errorf("container %s: %w, which policy %s selects by: %w", told.ID, ErrUnnamed, key, err)
		}
	}
	c.Log.Warn("container has no name but its id: no policy selects by it", "container", told.ID, "error", err)
	return nil
}

// selectsByName tells whether a policy is for containers by their names, images or
// labels.
func selectsByName(p *policy.Policy) bool {
	if !p.ContainerSelector.Empty() {
		return true
	}
	for i := range p.Workloads {
		if !p.Workloads[i].ContainerSelector.Empty() {
			return true
		}
	}
	return false
}

// named is a container with the names that were found, over those that it has: they
// may have changed.
func named(old *container.Container, found names.Names) container.Container {
	next := *old
	next.Runtime = cmp.Or(next.Runtime, found.Engine)
	next.Name = found.Name
	next.Image = cmp.Or(found.Image, next.Image)
	if found.Labels != nil {
		next.Labels = found.Labels
	}
	return next
}

// Renamed reads again what a container is called, and puts the policies in force that
// are for it by its new names and labels, in one step. A container of which only the
// cgroup is known has the names if its first process, as the record names it, is in
// that cgroup.
func (c *Controller) Renamed(id string) {
	of, known := c.Registry.ByID(id)
	if !known {
		return
	}
	found, err := c.findNames(of)
	if errors.Is(err, names.ErrNone) {
		return
	}
	if err == nil {
		err = c.rename(of, found)
	}
	if err != nil {
		c.Log.Warn("name container", "container", id, "error", err)
	}
}

// rename names the container that has the id of the one that was asked for.
func (c *Controller) rename(asked *container.Container, found names.Names) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, known := c.Registry.ByID(asked.ID)
	if !known {
		return nil
	}
	next := named(old, found)
	if old.Guess {
		if !c.runsIn(found.InitPID, old) {
			return nil // not started yet, or another one's record
		}
		next.Guess, next.InitPID = false, uint32(found.InitPID)
	}
	if same(&next, old) {
		return nil
	}
	s := c.subjects[old.Slot]
	if s == nil {
		return c.Registry.Put(&next)
	}
	holder, keys := s.container, s.keys
	s.container = &next
	s.keys = c.keysFor(s)
	undo := func(err error) error {
		s.container, s.keys = holder, keys
		return err
	}
	if s.keys != keys {
		if err := c.apply([]*subject{s}, false); err != nil {
			return undo(err)
		}
	}
	if err := c.Registry.Put(&next); err != nil {
		err = undo(err)
		return errors.Join(err, c.apply([]*subject{s}, false))
	}
	c.Log.Info("container named", "container", next.ID, "name", next.Name, "was", old.Name)
	return nil
}

// runsIn tells whether a process is in a container's cgroup or below it.
func (c *Controller) runsIn(pid int, of *container.Container) bool {
	if pid == 0 {
		return false
	}
	at, err := c.Cgroups.OfPID(pid)
	return err == nil && (at.ID == of.CgroupID || strings.HasPrefix(at.Path, strings.TrimSuffix(of.CgroupPath, "/")+"/"))
}

func same(a, b *container.Container) bool {
	return a.Name == b.Name && a.Image == b.Image && a.Runtime == b.Runtime && a.Guess == b.Guess && maps.Equal(a.Labels, b.Labels)
}
