// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
)

// keptSuffix is added to the name of a file of ours that somebody has changed, so
// that no runtime reads it and nothing of it is lost.
const keptSuffix = ".boltseal-saved"

// Uninstall takes back what Install did, from the manifest alone. With an error,
// everything is as it was before.
func Uninstall(ctx context.Context, o Options) (*Result, error) {
	h, engines, err := o.begin()
	if err != nil {
		return nil, err
	}
	was, err := readManifest(h.disk)
	if err != nil {
		return nil, err
	}
	r := &Result{Changes: []Change{}, Notes: []string{}, Reloads: map[string]string{}}
	for _, e := range engines {
		if was.has(e.name()) {
			r.Runtimes = append(r.Runtimes, e.name())
		}
	}
	next := was.clone()
	next.Files = nil
	for _, name := range r.Runtimes {
		delete(next.Settings, name)
	}
	changes, err := h.takeBack(was, next, r)
	if err != nil {
		return nil, err
	}
	if n := (docker{}).bound(h); n > 0 && slices.Contains(r.Runtimes, "docker") {
		r.Notes = append(r.Notes, fmt.Sprintf("docker: containers that were made with the runtime %s (%d) do not start again without it: make them anew", dockerRuntime, n))
	}
	if o.DryRun {
		return r, nil
	}
	if err := remove(ctx, h.disk, was, next, changes); err != nil {
		return nil, err
	}
	for _, e := range engines {
		touched := slices.ContainsFunc(r.Changes, func(c Change) bool { return slices.Contains(c.Runtimes, e.name()) })
		if touched && slices.Contains(r.Runtimes, e.name()) {
			r.Reloads[e.name()] = e.reload(ctx, h)
		}
	}
	return r, nil
}

// takeBack lists the changes that undo the entries of the result's runtimes, the
// last one first, and leaves in next the entries that are needed still: by other
// runtimes, or by containers that run.
func (h *host) takeBack(was, next *manifest, r *Result) ([]change, error) {
	var changes []change
	running, err := h.runningBy(was.wrappers())
	if err != nil {
		return nil, err
	}
	for _, e := range slices.Backward(was.Files) {
		rest := without(e.Runtimes, r.Runtimes)
		switch n := running[e.Path]; {
		case len(rest) > 0:
		case n > 0:
			rest = e.Runtimes
			r.Notes = append(r.Notes, fmt.Sprintf("%s: stays, as containers that were started by it (%d) are executed in and ended by it: "+
				"uninstall again when they have ended", e.Path, n))
		case e.Path == settingsFile && len(running) > 0: // it has the path of the runtime behind the wrapper
			rest = e.Runtimes
		}
		if len(rest) > 0 {
			kept := *e
			kept.Runtimes = rest
			next.Files = append([]*entry{&kept}, next.Files...)
			continue
		}
		all, note, err := e.undo(h.disk)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Path, err)
		}
		if note != "" {
			r.Notes = append(r.Notes, e.Path+": "+note)
		}
		for _, c := range all {
			if !c.from.equal(c.to) {
				changes = append(changes, c)
				r.Changes = append(r.Changes, Change{c.path, e.Runtimes, diff(c.path, c.from, c.to)})
			}
		}
	}
	return changes, nil
}

// undo returns the changes that take an entry back, and what people should know.
func (e *entry) undo(d *disk) ([]change, string, error) {
	now, err := d.read(e.Path)
	if err != nil {
		return nil, "", err
	}
	before := e.Before.state()
	switch {
	case now.equal(before):
		return nil, "", nil
	case now == nil:
		return nil, "was removed since: left so", nil
	case sumOf(now) == e.After:
		return []change{{e.Path, now, before}}, "", nil
	case now.link != "" || e.After.Link != "":
		return nil, "was replaced since: left as it is", nil
	case e.Format == formatWhole:
		name := e.Path + keptSuffix
		there, err := d.read(name)
		if err != nil {
			return nil, "", err
		}
		return []change{{name, there, now}, {e.Path, now, before}}, "was changed since: kept as " + name, nil
	}
	bare, left, err := strip(e.Format, now.data, e.Edits)
	if err != nil {
		return nil, "", fmt.Errorf("was changed since, and cannot be read: %w", err)
	}
	note := "was changed since: only what boltseal wrote was taken out"
	if len(left) > 0 {
		note += fmt.Sprintf("; left, for it has another value now: %s", strings.Join(left, ", "))
	}
	if before == nil && e.Format.hollow(bare) {
		return []change{{e.Path, now, nil}}, note, nil
	}
	after := *now
	after.data = bare
	return []change{{e.Path, now, &after}}, note, nil
}

// remove takes files back, then directories that were made for them and are
// empty, and then the note of them: ended in between, it can be done again.
func remove(ctx context.Context, d *disk, was, next *manifest, changes []change) error {
	t := &transaction{disk: d}
	for _, e := range was.Files {
		if err := d.clean(e.Path); err != nil {
			return err
		}
	}
	if err := d.clean(manifestFile); err != nil {
		return err
	}
	for _, c := range changes {
		if err := ctx.Err(); err != nil {
			return t.rollBack(err)
		}
		if err := t.write(c); err != nil {
			return t.rollBack(err)
		}
	}
	if err := t.rmdirs(was.Dirs); err != nil {
		return t.rollBack(err)
	}
	next.Dirs = d.present(next.Dirs)
	from, err := d.read(manifestFile)
	if err != nil {
		return t.rollBack(err)
	}
	to, err := next.state(d)
	if err == nil {
		err = t.write(change{manifestFile, from, to})
	}
	if err == nil && to == nil {
		err = t.rmdirs(append(was.Dirs, path.Dir(manifestFile)))
	}
	if err != nil {
		return t.rollBack(err)
	}
	return nil
}

// rmdirs removes directories that are empty, the last first.
func (t *transaction) rmdirs(dirs []string) error {
	for _, dir := range slices.Backward(dirs) {
		if err := t.rmdir(dir); err != nil {
			return err
		}
	}
	return nil
}

// present keeps the directories that are there.
func (d *disk) present(dirs []string) []string {
	return slices.DeleteFunc(slices.Clone(dirs), func(dir string) bool {
		there, err := d.isDir(dir)
		return err == nil && !there
	})
}
