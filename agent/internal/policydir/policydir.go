// SPDX-License-Identifier: Apache-2.0

package policydir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// Policies is where policies are put in force.
type Policies interface {
	// AddFilePolicy puts a file's policy in force, in place of one of its name that is
	// a file's, and of the one with the key instead, all in one step.
	AddFilePolicy(file string, p *policy.Policy, instead string) error
	// DeleteFilePolicy takes a file's policy out of force.
	DeleteFilePolicy(key string) error
}

// Fault is what is wrong with a file.
type Fault struct {
	// File is its path.
	File string
	// Key is that of the policy that the file should have had by now, or that is left in
	// force from before; empty when neither is known.
	Key string
	// Err is what is wrong: of a policy that is not sound, all of it.
	Err error
}

// Times between looks.
const (
	// lookEvery is between looks when the kernel tells of nothing.
	lookEvery = time.Second
	// quietFor is how long a directory has to stay as it is to be read.
	quietFor = 150 * time.Millisecond
	// restlessFor is when a directory that never stays as it is gets read all the same.
	restlessFor = 3 * time.Second
	// pause is between looks however much the kernel tells.
	pause = 50 * time.Millisecond
	// retryEvery is when a sound policy that was refused is tried again: there may be
	// room for it now, or its name may have become free. Trying takes at most one part
	// in retryShare of the time.
	retryEvery = 5 * time.Second
	retryShare = 100
)

// Directory is a directory of policies. Load and Run are for one goroutine; Faults
// is safe for concurrent use.
type Directory struct {
	path     string
	policies Policies
	log      *slog.Logger
	every    time.Duration

	// files are those that were taken in, by name.
	files map[string]*file
	// before is what looks have seen since quiet, and what was taken in is something
	// else since restless; both are zero when it is not.
	before          view
	quiet, restless time.Time
	// retry is when refused policies are tried again; zero when there are none.
	retry time.Time
	// unseen is why the last look saw nothing; there: a look has seen a directory.
	unseen error
	there  bool

	mu     sync.Mutex
	faults []Fault
}

// file is what is known of one file.
type file struct {
	// seen is what it was when it was read last.
	seen identity
	// key is that of the policy in force that is the file's, text its text; empty if
	// none is.
	key, text string
	// wanted is the policy that was read and is not in force, nil if none is.
	wanted *policy.Policy
	fault  error
}

// New is the directory with a path; it need not exist. Nothing is read before Load.
func New(path string, policies Policies, log *slog.Logger) *Directory {
	return &Directory{path: path, policies: policies, log: log, every: lookEvery, files: map[string]*file{}}
}

// Load puts the policies of the directory in force. The error says what is wrong
// with each that cannot be. A directory that does not exist is none.
func (d *Directory) Load() error {
	now, err := look(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	d.there = true
	d.take(now)
	var errs []error
	for _, f := range d.Faults() {
		errs = append(errs, fmt.Errorf("policy file %s: %w", f.File, f.Err))
	}
	return errors.Join(errs...)
}

// Run takes changes in until the context ends.
func (d *Directory) Run(ctx context.Context) error {
	w, err := newWatch()
	if err != nil {
		d.log.Warn("changes of the policy directory are seen later", "error", err)
		return d.loop(ctx, nil, nil)
	}
	told := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := w.run(ctx, told); err != nil {
			d.log.Warn("changes of the policy directory are seen later", "error", err)
		}
		return nil
	})
	group.Go(func() error {
		err := d.loop(ctx, w, told)
		return errors.Join(err, w.close())
	})
	return group.Wait()
}

func (d *Directory) loop(ctx context.Context, w *watch, told <-chan struct{}) error {
	for {
		if w != nil {
			// Where this fails the next look comes by the timer.
			_ = w.follow(d.path)
		}
		wait := d.look(time.Now())
		if !sleep(ctx, pause, nil) || !sleep(ctx, wait-pause, told) {
			return nil
		}
	}
}

// sleep waits, or until told, and is false when the context has ended.
func sleep(ctx context.Context, wait time.Duration, told <-chan struct{}) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-told:
	case <-timer.C:
	}
	return true
}

// look sees what has changed and takes it in when it is time. It returns when to
// look again.
func (d *Directory) look(at time.Time) time.Duration {
	now, err := look(d.path)
	if err != nil {
		d.complain(err)
		d.calm()
		return d.every
	}
	d.there = true
	if d.unseen != nil {
		d.log.Info("policy directory can be read again", "directory", d.path)
		d.unseen = nil
		d.setFaults()
	}
	if d.same(now) {
		d.calm()
		d.again(at)
		return d.every
	}
	if d.restless.IsZero() {
		d.restless = at
	}
	if d.before == nil || !maps.Equal(d.before, now) {
		d.before, d.quiet = now, at
	}
	if at.Sub(d.quiet) < quietFor && at.Sub(d.restless) < restlessFor {
		return quietFor
	}
	d.calm()
	d.take(now)
	d.setRetry(at)
	return d.every
}

// calm forgets that the directory was seen to change.
func (d *Directory) calm() { d.before, d.quiet, d.restless = nil, time.Time{}, time.Time{} }

// complain says once why the directory cannot be seen. One that was never there is
// no fault.
func (d *Directory) complain(err error) {
	if errors.Is(err, fs.ErrNotExist) && !d.there {
		return
	}
	if d.unseen == nil || d.unseen.Error() != err.Error() {
		d.log.Error("policy directory cannot be read: its policies stay as they are", "directory", d.path, "error", err)
	}
	d.unseen = err
	d.setFaults()
}

// same tells whether a look saw what was taken in.
func (d *Directory) same(now view) bool {
	if len(now) != len(d.files) {
		return false
	}
	for name, id := range now {
		if f := d.files[name]; f == nil || f.seen != id {
			return false
		}
	}
	return true
}

// fault notes what is wrong with a file and says it once.
func (d *Directory) fault(name string, f *file, err error) {
	if f.fault == nil || f.fault.Error() != err.Error() {
		left := "none"
		if f.key != "" {
			left = f.key
		}
		d.log.Error("policy file is not taken in", "file", d.file(name), "error", err, "in_force", left)
	}
	f.fault = err
}

func (d *Directory) file(name string) string { return filepath.Join(d.path, name) }

// setFaults makes what Faults tells.
func (d *Directory) setFaults() {
	var all []Fault
	if d.unseen != nil {
		all = append(all, Fault{File: d.path, Err: d.unseen})
	}
	for name, f := range d.files {
		if f.fault == nil {
			continue
		}
		key := f.key
		if key == "" && f.wanted != nil {
			key = f.wanted.Key()
		}
		all = append(all, Fault{File: d.file(name), Key: key, Err: f.fault})
	}
	slices.SortFunc(all, func(a, b Fault) int { return cmp.Compare(a.File, b.File) })
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = all
}

// Faults are the files that are not in force as they are, and the directory itself
// when it cannot be read.
func (d *Directory) Faults() []Fault {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.faults)
}
