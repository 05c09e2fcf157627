// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"

	"github.com/aymanbagabas/go-udiff"
)

// Options is what all operations work with.
type Options struct {
	// Root is the root directory of the host; "" is "/", another one an image, whose
	// programs are neither asked nor reloaded.
	Root string
	// Runtimes narrows to these; empty for all that are there.
	Runtimes []string
	// BinDir is where boltseal's programs are, seen from Root.
	BinDir string
	// DryRun writes nothing.
	DryRun bool
	// Settings is for all runtimes that are registered, but for Config, which is in
	// Configs by runtime.
	Settings Settings
	Configs  map[string]string

	// For tests: run stands for programs of the host, before for faults of its disk.
	run    func(ctx context.Context, name string, args ...string) ([]byte, error)
	before func(operation, path string) error
	hasty  bool
}

func (o Options) host() (*host, error) {
	root, err := filepath.Abs(filepath.Join("/", o.Root))
	if err != nil {
		return nil, err
	}
	if o.Root != "" && !filepath.IsAbs(o.Root) {
		if root, err = filepath.Abs(o.Root); err != nil {
			return nil, err
		}
	}
	h := &host{disk: &disk{root: root, before: o.before, hasty: o.hasty}, binDir: path.Clean("/" + o.BinDir), run: o.run}
	if root == "/" && h.run == nil {
		h.run = runProgram
	}
	return h, nil
}

// Change is one path that was or would be changed.
type Change struct {
	Path     string   `json:"path"`
	Runtimes []string `json:"runtimes"`
	// Diff is unified.
	Diff string `json:"diff"`
}

// Result is what an operation did, or would do in a dry run.
type Result struct {
	// Runtimes is those that it was about.
	Runtimes []string `json:"runtimes"`
	Changes  []Change `json:"changes"`
	// Notes is what was left as it is, and why.
	Notes []string `json:"notes"`
	// Reloads is by runtime what was done or has to be, for the changes to count.
	Reloads map[string]string `json:"reloads"`
}

// ErrNone tells that no runtime was found.
var ErrNone = errors.New("no container runtime was found: name one with --runtime to register it all the same")

// Install registers boltseal with the runtimes. With an error, everything is as
// it was before.
func Install(ctx context.Context, o Options) (*Result, error) {
	h, engines, err := o.begin()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{hookName, pluginName} {
		if !h.executable(path.Join(h.binDir, name)) {
			return nil, fmt.Errorf("%s: is no program: install boltseal first, or name its directory with --bin-dir", path.Join(h.binDir, name))
		}
	}
	was, err := readManifest(h.disk)
	if err != nil {
		return nil, err
	}
	d := &draft{disk: h.disk, was: was}
	settings := map[string]Settings{}
	var registered []engine
	for _, e := range engines {
		if _, present := e.find(h); !present && len(o.Runtimes) == 0 {
			continue
		}
		settings[e.name()] = o.settings(e.name(), was)
		_, err := e.draft(ctx, h, d, settings[e.name()])
		if errors.Is(err, errNoCRI) {
			d.note("%s: %v", e.name(), err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.name(), err)
		}
		registered = append(registered, e)
	}
	if len(registered) == 0 && len(d.notes) == 0 {
		return nil, ErrNone
	}
	return d.install(ctx, h, o, registered, settings)
}

func (o Options) begin() (*host, []engine, error) {
	h, err := o.host()
	if err != nil {
		return nil, nil, err
	}
	engines, err := selected(o.Runtimes)
	return h, engines, err
}

// settings are the given ones, and what an earlier install was given.
func (o Options) settings(name string, was *manifest) Settings {
	s := was.Settings[name]
	if config := o.Configs[name]; config != "" {
		s.Config = config
	}
	if name == (containerd{}).name() {
		s.Wrapper = s.Wrapper || o.Settings.Wrapper
		s.BaseSpec = s.BaseSpec || o.Settings.BaseSpec
	}
	return s
}

// install writes the draft.
func (d *draft) install(ctx context.Context, h *host, o Options, engines []engine, settings map[string]Settings) (*Result, error) {
	r := &Result{Changes: []Change{}, Notes: append([]string{}, d.notes...), Reloads: map[string]string{}}
	var changes []change
	touched := map[string]bool{}
	for _, w := range d.all {
		if !w.changed() {
			continue
		}
		changes = append(changes, change{w.path, w.old, w.now})
		r.Changes = append(r.Changes, Change{w.path, w.runtimes, diff(w.path, w.old, w.now)})
		for _, name := range w.runtimes {
			touched[name] = true
		}
	}
	for _, e := range engines {
		r.Runtimes = append(r.Runtimes, e.name())
	}
	next, err := d.manifest()
	if err != nil {
		return nil, err
	}
	for _, name := range r.Runtimes {
		next.Settings[name] = settings[name]
	}
	if o.DryRun {
		return r, nil
	}
	if err := write(ctx, h, next, changes, engines); err != nil {
		return nil, err
	}
	for _, e := range engines {
		if touched[e.name()] {
			r.Reloads[e.name()] = e.reload(ctx, h)
		}
	}
	return r, nil
}

// write notes what is about to be done, does it, and has the runtimes check it.
func write(ctx context.Context, h *host, next *manifest, changes []change, engines []engine) error {
	from, err := h.disk.read(manifestFile)
	if err != nil {
		return err
	}
	if dirs, err := h.disk.missing(manifestFile); err != nil {
		return err
	} else if len(next.Files) > 0 {
		next.Dirs = union(dirs, next.Dirs)
	}
	to, err := next.state(h.disk)
	if err != nil {
		return err
	}
	t := &transaction{disk: h.disk}
	for _, c := range append([]change{{manifestFile, from, to}}, changes...) {
		if err := ctx.Err(); err != nil {
			return t.rollBack(err)
		}
		if err := t.write(c); err != nil {
			return t.rollBack(err)
		}
	}
	if len(changes) == 0 {
		return nil
	}
	for _, e := range engines {
		if err := e.check(ctx, h, next.Settings[e.name()]); err != nil {
			return t.rollBack(err)
		}
	}
	return nil
}

// diff shows a change for people.
func diff(name string, from, to *state) string {
	before, after := name, name
	if from == nil {
		before = "/dev/null"
	}
	if to == nil {
		after = "/dev/null"
	}
	return udiff.Unified(before, after, shown(from), shown(to))
}

// shown is a state as text; a link is a line that says where it leads to.
func shown(s *state) string {
	switch {
	case s == nil:
		return ""
	case s.link != "":
		return "symbolic link to " + s.link + "\n"
	}
	return string(s.data)
}

// without is the list without the others.
func without(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(others, s) })
}
