// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
)

// How a runtime is registered.
const (
	Registered    = "yes"
	Unregistered  = "no"
	PartlyDone    = "partly"
	NotNeeded     = "not needed"
	NotKnown      = "not known" // its files cannot be read
	NothingToTell = ""          // it is not there
)

// States of a file.
const (
	// FileInstalled is as it was written.
	FileInstalled = "installed"
	// FileByHand does the same and was not written by Install.
	FileByHand = "by hand"
	// FileEdited was changed since, and still does what it has to.
	FileEdited = "changed since"
	// FileOther is there and does not register boltseal.
	FileOther = "not registered"
	// FileMissing is not there.
	FileMissing = "missing"
)

// File is one of those that register a runtime.
type File struct {
	Path  string `json:"path"`
	State string `json:"state"`
}

// Runtime is what is known of one.
type Runtime struct {
	Name    string `json:"name"`
	Present bool   `json:"present"`
	Program string `json:"program"`
	// Version is empty when the program could not be asked.
	Version    string `json:"version"`
	Registered string `json:"registered"`
	How        string `json:"how"`
	Files      []File `json:"files"`
	// Do is what is left to do; empty for nothing.
	Do string `json:"do"`
}

// Status tells of each runtime whether boltseal is registered with it. It changes
// nothing.
func Status(ctx context.Context, o Options) ([]Runtime, error) {
	h, engines, err := o.begin()
	if err != nil {
		return nil, err
	}
	was, err := readManifest(h.disk)
	if err != nil {
		return nil, err
	}
	all := make([]Runtime, 0, len(engines))
	for _, e := range engines {
		r := Runtime{Name: e.name(), Files: []File{}}
		r.Program, r.Present = e.find(h)
		r.Version = h.versionOf(ctx, r.Program).text
		_, known := was.Settings[e.name()]
		if r.Present || known || slices.Contains(o.Runtimes, e.name()) {
			r.look(ctx, h, e, was, o.settings(e.name(), was))
		}
		all = append(all, r)
	}
	return all, nil
}

// look compares the runtime's files with what they should be.
func (r *Runtime) look(ctx context.Context, h *host, e engine, was *manifest, s Settings) {
	d := &draft{disk: h.disk, was: was}
	how, err := e.draft(ctx, h, d, s)
	if errors.Is(err, errNoCRI) {
		r.Registered, r.How = NotNeeded, err.Error()
		return
	}
	good := 0
	for _, w := range d.all {
		state := w.state(was.entry(w.path))
		r.Files = append(r.Files, File{w.path, state})
		if !w.changed() {
			good++
		}
	}
	switch {
	case err != nil:
		r.Registered, r.Do = NotKnown, err.Error()
	case good == len(d.all):
		r.Registered, r.How = Registered, how
	case good == 0:
		r.Registered = Unregistered
	default:
		r.Registered = PartlyDone
	}
	if err == nil && r.Registered != Registered {
		r.Do = fmt.Sprintf("boltseal hook install --runtime %s", r.Name)
	}
	for _, name := range []string{hookName, pluginName} {
		if program := path.Join(h.binDir, name); !h.executable(program) {
			r.Files = append(r.Files, File{program, FileMissing})
			if r.Registered == Registered {
				r.Registered = PartlyDone
			}
			r.Do = "install " + program + ", or name its directory with --bin-dir"
		}
	}
}

func (w *wanted) state(e *entry) string {
	switch {
	case w.old == nil:
		return FileMissing
	case w.changed():
		return FileOther
	case e == nil:
		return FileByHand
	case sumOf(w.old) == e.After:
		return FileInstalled
	}
	return FileEdited
}
