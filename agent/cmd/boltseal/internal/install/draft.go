// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// own is the state of a file that is made anew.
func (d *disk) own(data []byte, mode os.FileMode) *state {
	return &state{data: data, mode: mode, uid: os.Geteuid(), gid: os.Getegid()}
}

// wanted is one path that a draft has asked for.
type wanted struct {
	path     string
	runtimes []string
	format   format
	// old is what is there, now what it shall be.
	old, now *state
	edits    []edit
}

// changed tells whether anything is to be written.
func (w *wanted) changed() bool { return !w.old.equal(w.now) }

// draft is what files should be like. Runtimes write into it in turn, and see
// what others wrote.
type draft struct {
	disk *disk
	was  *manifest
	all  []*wanted
	// notes is what people should know.
	notes []string
}

func (d *draft) note(text string, args ...any) {
	if n := fmt.Sprintf(text, args...); !slices.Contains(d.notes, n) {
		d.notes = append(d.notes, n)
	}
}

// take returns the draft of a path, with the runtime among those that want it.
func (d *draft) take(runtime, name string, f format) (*wanted, error) {
	name = path.Clean(name)
	for _, w := range d.all {
		if w.path != name {
			continue
		}
		if w.format != f {
			return nil, fmt.Errorf("%s: is wanted whole and in parts", name)
		}
		if !slices.Contains(w.runtimes, runtime) {
			w.runtimes = append(w.runtimes, runtime)
		}
		return w, nil
	}
	old, err := d.disk.read(name)
	if err != nil {
		return nil, err
	}
	w := &wanted{path: name, runtimes: []string{runtime}, format: f, old: old, now: old}
	d.all = append(d.all, w)
	return w, nil
}

// text is the content of a file as it is drafted so far, nil when there is none.
func (d *draft) text(name string) ([]byte, error) {
	for _, w := range d.all {
		if w.path == path.Clean(name) && w.now != nil {
			return w.now.data, nil
		}
	}
	s, err := d.disk.read(name)
	if err != nil || s == nil {
		return nil, err
	}
	if s.link == "" {
		return s.data, nil
	}
	if !path.IsAbs(s.link) {
		s.link = path.Join(path.Dir(name), s.link)
	}
	if s, err = d.disk.read(s.link); err != nil || s == nil {
		return nil, err
	}
	return s.data, nil
}

// file wants a file of ours.
func (d *draft) file(runtime, name string, data []byte, mode os.FileMode) error {
	w, err := d.take(runtime, name, formatWhole)
	if err != nil {
		return err
	}
	if w.old != nil && w.old.link == "" && string(w.old.data) == string(data) && w.old.mode&0o111 == mode&0o111 {
		return nil // put there by hand, perhaps with a mode and owner of choice
	}
	if err := d.untouched(w); err != nil {
		return err
	}
	w.now = d.disk.own(data, mode)
	return nil
}

// link wants a symbolic link.
func (d *draft) link(runtime, name, target string) error {
	w, err := d.take(runtime, name, formatWhole)
	if err != nil {
		return err
	}
	if w.old != nil && w.old.link == target {
		return nil
	}
	if w.old != nil && w.old.link == "" {
		return d.twin(w, path.Join(path.Dir(name), target))
	}
	if err := d.untouched(w); err != nil {
		return err
	}
	w.now = &state{link: target, mode: 0o777}
	return nil
}

// twin accepts a copy of what a link would lead to.
func (d *draft) twin(w *wanted, original string) error {
	there, err := d.disk.read(original)
	if err != nil {
		return err
	}
	if there == nil || string(there.data) != string(w.old.data) {
		return fmt.Errorf("%s: is there and is not boltseal's: move it away", w.path)
	}
	return nil
}

// untouched refuses to overwrite what somebody made of a file of ours.
func (d *draft) untouched(w *wanted) error {
	e := d.was.entry(w.path)
	if e == nil || w.old == nil || sumOf(w.old) == e.After || w.old.equal(e.Before.state()) {
		return nil
	}
	return fmt.Errorf("%s: was changed since it was installed: move it away, or uninstall first", w.path)
}

// set wants a key in a file of somebody else, which is made when it is missing.
func (d *draft) set(runtime, name string, f format, value any, keys ...string) error {
	w, err := d.take(runtime, name, f)
	if err != nil {
		return err
	}
	if w.old != nil && w.old.link != "" {
		return fmt.Errorf("%s: is a symbolic link to %s, which something else looks after: add %s there by hand",
			name, w.old.link, strings.Join(keys, "."))
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if w.now == nil {
		w.now = d.disk.own(nil, 0o644)
	}
	one := edit{Path: keys, Value: raw}
	old, found, err := f.get(w.now.data, keys)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if found && same(old, raw) {
		return nil
	}
	if found {
		one.Old = old
	} else if len(keys) > 1 {
		_, around, err := f.get(w.now.data, keys[:len(keys)-1])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		one.Made = !around
	}
	next := *w.now
	if next.data, err = f.set(w.now.data, raw, keys); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w.now, w.edits = &next, append(w.edits, one)
	return nil
}

// manifest is what the manifest has to be before the draft is written.
func (d *draft) manifest() (*manifest, error) {
	m := d.was.clone()
	for _, w := range d.all {
		e := m.entry(w.path)
		if !w.changed() {
			if e != nil { // also wanted by another runtime now
				e.Runtimes = union(e.Runtimes, w.runtimes)
			}
			continue
		}
		if e == nil {
			e = &entry{Path: w.path, Format: w.format, Before: copyOf(w.old)}
			m.Files = append(m.Files, e)
		} else if err := e.rebase(w.old); err != nil {
			return nil, err
		}
		e.Runtimes = union(e.Runtimes, w.runtimes)
		e.Edits = append(e.Edits, w.edits...)
		e.After = sumOf(w.now)
		dirs, err := d.disk.missing(w.path)
		if err != nil {
			return nil, err
		}
		m.Dirs = union(m.Dirs, dirs)
	}
	return m, nil
}

// rebase makes the entry fit what is there now, so that taking it back keeps what
// somebody has written since.
func (e *entry) rebase(current *state) error {
	switch {
	case current != nil && sumOf(current) == e.After:
		return nil
	case current.equal(e.Before.state()):
		e.Edits = nil // never written, or put back by hand
		return nil
	case current == nil || e.Format == formatWhole:
		e.Edits, e.Before = nil, copyOf(current)
		return nil
	}
	bare, _, err := strip(e.Format, current.data, e.Edits)
	if err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	var kept []edit
	for _, one := range e.Edits {
		if value, found, err := e.Format.get(current.data, one.Path); err == nil && found && same(value, one.Value) {
			kept = append(kept, one)
		}
	}
	before := *current
	before.data = bare
	e.Edits, e.Before = kept, copyOf(&before)
	return nil
}

// union appends what is not in a list yet.
func union(list, more []string) []string {
	for _, one := range more {
		if !slices.Contains(list, one) {
			list = append(list, one)
		}
	}
	return list
}
