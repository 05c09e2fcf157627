// SPDX-License-Identifier: Apache-2.0

package jsonfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	stamp  = "2006-01-02T15-04-05.000"
	packed = ".gz"
	begun  = ".tmp" // of a packed file that is not whole
)

// rotate renames the file and begins a new one. When it cannot be renamed, it is
// still open.
func (f *File) rotate() error {
	name, err := f.free(time.Now())
	if err == nil {
		err = os.Rename(f.path, name)
	}
	if err != nil {
		return fmt.Errorf("rotate export file: %w", err)
	}
	return f.reopen()
}

// free is a name for an old file that none has.
func (f *File) free(now time.Time) (string, error) {
	stem, ext := f.names()
	for {
		name := stem + now.UTC().Format(stamp) + ext
		_, plain := os.Lstat(name)
		_, gz := os.Lstat(name + packed)
		if err := errors.Join(plain, gz); errors.Is(plain, fs.ErrNotExist) && errors.Is(gz, fs.ErrNotExist) {
			return name, nil
		} else if plain != nil && !errors.Is(plain, fs.ErrNotExist) {
			return "", err
		}
		now = now.Add(time.Millisecond)
	}
}

// names is what comes before and after the time in the names of old files.
func (f *File) names() (stem, ext string) {
	ext = filepath.Ext(f.path)
	if filepath.Base(f.path) == ext { // .events
		ext = ""
	}
	return strings.TrimSuffix(f.path, ext) + "-", ext
}

// backups are the old files, the newest first, without the ending of packed ones.
func (f *File) backups() ([]string, error) {
	stem, ext := f.names()
	entries, err := os.ReadDir(filepath.Dir(f.path))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, entry := range entries {
		path := filepath.Join(filepath.Dir(f.path), entry.Name())
		name := strings.TrimSuffix(strings.TrimSuffix(path, begun), packed)
		middle, ok := strings.CutPrefix(name, stem)
		if middle, ok2 := strings.CutSuffix(middle, ext); ok && ok2 && entry.Type().IsRegular() {
			if _, err := time.Parse(stamp, middle); err == nil {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	slices.Reverse(all)
	return slices.Compact(all), nil
}

// keep rotates by time, and packs and removes old files, until the context ends.
func (f *File) keep(ctx context.Context) {
	defer close(f.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	failed := false
	for {
		err := errors.Join(f.rotateOld(time.Now()), f.sweep(ctx))
		if err != nil && ctx.Err() == nil && !failed {
			f.log.Error("keep export files", "error", err)
		}
		failed = err != nil
		wait := f.untilOld(time.Now())
		if failed {
			wait = min(wait, time.Minute)
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			_ = f.prune() // what the last rotation left; packing can wait
			return
		case <-f.changed:
		case <-timer.C:
		}
	}
}

// forever is how long keep sleeps when there is nothing to wait for.
const forever = 1000 * time.Hour

// untilOld is how long it is until the file is to be rotated.
func (f *File) untilOld(now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rotation.Interval == 0 {
		return forever
	}
	return max(0, f.begun.Add(f.rotation.Interval).Sub(now))
}

// rotateOld rotates the file if it is old enough. An empty one begins to age anew.
func (f *File) rotateOld(now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.rotation.Interval == 0 || now.Before(f.begun.Add(f.rotation.Interval)) {
		return nil
	}
	f.begun = now // also when it fails
	if err := f.find(); err != nil {
		return err
	}
	if f.size == 0 {
		f.begun = now
		return nil
	}
	return f.rotate()
}

// sweep removes old files that are too many and packs the others.
func (f *File) sweep(ctx context.Context) error {
	errs := []error{f.prune()}
	backups, err := f.backups()
	errs = append(errs, err)
	for _, name := range backups {
		if f.compress && ctx.Err() == nil {
			errs = append(errs, f.pack(ctx, name))
		}
	}
	return errors.Join(errs...)
}

// prune removes old files that are too many.
func (f *File) prune() error {
	most := f.Rotation().MaxBackups
	backups, err := f.backups()
	if err != nil || most == 0 || len(backups) <= most {
		return err
	}
	var errs []error
	for _, name := range backups[most:] {
		for _, path := range []string{name, name + packed, name + packed + begun} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
