// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"fmt"
	"slices"
)

// change is one path that is to become another.
type change struct {
	path     string
	from, to *state
}

// transaction changes files one after the other, and takes back what it did when
// one of them cannot be changed.
type transaction struct {
	disk *disk
	undo []func() error
}

// write changes a file, and makes the directories that it needs.
func (t *transaction) write(c change) error {
	dirs, err := t.disk.missing(c.path)
	if err != nil {
		return err
	}
	if c.to == nil {
		dirs = nil
	}
	for _, dir := range dirs {
		t.undo = append(t.undo, func() error { return t.disk.rmdir(dir) })
		if err := t.disk.mkdir(dir); err != nil {
			return fmt.Errorf("%s: %w", c.path, err)
		}
	}
	t.undo = append(t.undo, func() error { return t.put(c.path, c.from) })
	if err := t.put(c.path, c.to); err != nil {
		return fmt.Errorf("%s: %w", c.path, err)
	}
	return nil
}

// rmdir removes a directory when it is empty.
func (t *transaction) rmdir(dir string) error {
	there, err := t.disk.isDir(dir)
	if err != nil || !there {
		return err
	}
	t.undo = append(t.undo, func() error { return t.disk.mkdir(dir) })
	if err := t.disk.rmdir(dir); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}

// put writes what is not so already.
func (t *transaction) put(name string, s *state) error {
	now, err := t.disk.read(name)
	if err != nil {
		return err
	}
	if now.equal(s) {
		return nil
	}
	return t.disk.write(name, s)
}

// rollBack takes everything back and returns the error with what could not be.
func (t *transaction) rollBack(cause error) error {
	for _, undo := range slices.Backward(t.undo) {
		if err := undo(); err != nil {
			cause = errors.Join(cause, fmt.Errorf("put back: %w", err))
		}
	}
	t.undo = nil
	return cause
}
