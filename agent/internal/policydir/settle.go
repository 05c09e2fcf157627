// SPDX-License-Identifier: Apache-2.0

package policydir

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// take puts in force what a look saw.
func (d *Directory) take(now view) {
	gone := map[string]*file{}
	for name, f := range d.files {
		if _, there := now[name]; !there {
			gone[name] = f
			delete(d.files, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		f := d.files[name]
		if f == nil {
			f = &file{}
			d.files[name] = f
		} else if f.seen == now[name] {
			continue
		}
		d.read(name, f, now[name])
	}
	d.settle(gone)
	d.setFaults()
}

// read reads and parses a file.
func (d *Directory) read(name string, f *file, id identity) {
	f.seen, f.wanted = id, nil
	text, err := read(d.file(name), id)
	if errors.Is(err, errBusy) {
		f.seen = identity{} // so that the next look reads it again
	}
	var p *policy.Policy
	if err == nil {
		p, err = policy.Parse(text)
	}
	switch {
	case err != nil:
		d.fault(name, f, err)
	case f.key == p.Key() && f.text == p.Text:
		f.fault = nil // it was touched, or is as it was before somebody broke it
	default:
		f.wanted = p
	}
}

// settle puts in force what was read, and takes out what has no file any more.
func (d *Directory) settle(gone map[string]*file) {
	owners := d.owners()
	// A policy that is in force stays so until the one in its place is.
	stale := map[string]bool{}
	for _, f := range gone {
		if f.key != "" {
			stale[f.key] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		f := d.files[name]
		if f.wanted == nil {
			continue
		}
		key := f.wanted.Key()
		if owner := owners[key]; owner != name {
			d.fault(name, f, fmt.Errorf("policy %s is that of file %s already", key, d.file(owner)))
			continue
		}
		instead := f.key
		if _, claimed := owners[instead]; claimed || instead == key {
			instead = ""
		}
		if err := d.policies.AddFilePolicy(d.file(name), f.wanted, instead); err != nil {
			d.fault(name, f, err)
			continue
		}
		if f.key != "" && f.key != key {
			stale[f.key] = instead == ""
		}
		d.log.Info("policy of file is in force", "file", d.file(name), "policy", key, "mode", f.wanted.Mode.String())
		f.key, f.text, f.wanted, f.fault = key, f.wanted.Text, nil, nil
		stale[key] = false
		d.disown(key, name)
	}
	d.remove(stale)
}

// owners says which file has a name: the one whose policy of it is in force, unless
// that file now has another one, else the first.
func (d *Directory) owners() map[string]string {
	owners := map[string]string{}
	names := slices.Sorted(maps.Keys(d.files))
	for _, name := range names {
		f := d.files[name]
		if f.key != "" && (f.wanted == nil || f.wanted.Key() == f.key) {
			owners[f.key] = name
		}
	}
	for _, name := range names {
		if f := d.files[name]; f.wanted != nil {
			if _, taken := owners[f.wanted.Key()]; !taken {
				owners[f.wanted.Key()] = name
			}
		}
	}
	return owners
}

// disown forgets that a policy was another file's.
func (d *Directory) disown(key, name string) {
	for other, f := range d.files {
		if other != name && f.key == key {
			f.key, f.text = "", ""
		}
	}
}

// remove takes policies out of force that no file has any more. One that a file has
// in a version that was refused stays as it was, and is that file's.
func (d *Directory) remove(stale map[string]bool) {
	for _, f := range d.files {
		if f.key != "" {
			stale[f.key] = false
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		f := d.files[name]
		if f.key == "" && f.wanted != nil && stale[f.wanted.Key()] {
			f.key = f.wanted.Key()
			stale[f.key] = false
		}
	}
	for _, key := range slices.Sorted(maps.Keys(stale)) {
		if !stale[key] {
			continue
		}
		if err := d.policies.DeleteFilePolicy(key); err != nil {
			d.log.Error("policy of a file that is gone stays in force", "policy", key, "error", err)
			continue
		}
		d.log.Info("policy has no file any more: taken out of force", "policy", key)
	}
}

// again tries refused policies once more.
func (d *Directory) again(at time.Time) {
	if d.retry.IsZero() || at.Before(d.retry) {
		return
	}
	start := time.Now()
	d.settle(nil)
	d.setFaults()
	d.setRetry(at.Add(retryShare * time.Since(start)))
}

// setRetry decides when refused policies are tried again.
func (d *Directory) setRetry(at time.Time) {
	d.retry = time.Time{}
	for _, f := range d.files {
		if f.wanted != nil {
			d.retry = at.Add(retryEvery)
		}
	}
}
