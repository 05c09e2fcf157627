// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// state is what is at a path: a file or a symbolic link. Nil is nothing.
type state struct {
	data []byte
	// link is where it points to; empty for a file.
	link     string
	mode     fs.FileMode
	uid, gid int
}

func (s *state) equal(other *state) bool {
	if s == nil || other == nil {
		return s == other
	}
	if s.link != "" || other.link != "" {
		return s.link == other.link
	}
	return bytes.Equal(s.data, other.data) && s.mode == other.mode && s.uid == other.uid && s.gid == other.gid
}

// disk is the files below a root. Paths are those that a program sees whose root
// it is.
type disk struct {
	root string
	// before, when set, is asked before each change, for tests: an error makes the
	// change fail.
	before func(operation, path string) error
	// hasty, for tests, does not wait for the disk: nothing there has to outlive the
	// machine.
	hasty bool
}

func (d *disk) allow(operation, name string) error {
	if d.before == nil {
		return nil
	}
	return d.before(operation, name)
}

// maxLinks is how many symbolic links a path may lead through, as in the kernel.
const maxLinks = 40

// at is where a path is, seen from our own root. Links on the way are followed
// as the root's programs would: none leads out of it. The last element is not
// followed.
func (d *disk) at(name string) (string, error) {
	done, rest := "/", strings.TrimPrefix(path.Clean("/"+name), "/")
	for links := 0; ; {
		first, more, found := strings.Cut(rest, "/")
		if !found {
			return filepath.Join(d.root, path.Join(done, first)), nil
		}
		next := path.Join(done, first)
		target, err := os.Readlink(filepath.Join(d.root, next))
		if err != nil { // no link, or nothing there
			done, rest = next, more
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s: %w", name, syscall.ELOOP)
		}
		if !path.IsAbs(target) {
			target = path.Join(done, target)
		}
		done, rest = "/", strings.TrimPrefix(path.Join(path.Clean("/"+target), more), "/")
	}
}

// read returns what is at a path, nil for nothing.
func (d *disk) read(name string) (*state, error) {
	where, err := d.at(name)
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(where)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &state{mode: info.Mode().Perm()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		s.uid, s.gid = int(stat.Uid), int(stat.Gid)
	}
	switch info.Mode().Type() {
	case fs.ModeSymlink:
		s.link, err = os.Readlink(where)
	case 0:
		s.data, err = os.ReadFile(where)
	default:
		err = fmt.Errorf("%s: is neither a file nor a link", name)
	}
	return s, err
}

// write makes a path be like the state, or nothing. Files are complete before
// they get their name.
func (d *disk) write(name string, s *state) error {
	if err := d.allow("write", name); err != nil {
		return err
	}
	where, err := d.at(name)
	if err != nil {
		return err
	}
	if s == nil {
		if err := os.Remove(where); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return d.syncDir(filepath.Dir(where))
	}
	temporary := unfinished(where)
	if err := removeQuietly(temporary); err != nil {
		return err
	}
	if s.link != "" {
		err = os.Symlink(s.link, temporary)
	} else {
		err = d.fill(temporary, s)
	}
	if err == nil {
		err = d.allow("rename", name)
	}
	if err == nil {
		err = os.Rename(temporary, where)
	}
	if err != nil {
		return errors.Join(err, removeQuietly(temporary))
	}
	return d.syncDir(filepath.Dir(where))
}

// unfinished is the name that a file has until it is complete: one, so that what
// was cut short is found again. The dot hides it from runtimes that read all files
// of a directory.
func unfinished(where string) string {
	return filepath.Join(filepath.Dir(where), "."+filepath.Base(where)+".boltseal-new")
}

// clean removes what a write left that was cut short.
func (d *disk) clean(name string) error {
	where, err := d.at(name)
	if err != nil {
		return err
	}
	return removeQuietly(unfinished(where))
}

func removeQuietly(where string) error {
	if err := os.Remove(where); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return err
	}
	return nil
}

func (d *disk) fill(where string, s *state) error {
	f, err := os.OpenFile(where, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(s.data)
	if err == nil {
		err = f.Chown(s.uid, s.gid)
	}
	if err == nil {
		err = f.Chmod(s.mode)
	}
	if err == nil && !d.hasty {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (d *disk) syncDir(where string) error {
	if d.hasty {
		return nil
	}
	f, err := os.Open(where)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// missing lists the directories that a file's path lacks, the outermost first.
func (d *disk) missing(name string) ([]string, error) {
	var all []string
	for dir := path.Dir(name); dir != "/" && dir != "."; dir = path.Dir(dir) {
		there, err := d.isDir(dir)
		if err != nil || there {
			return all, err
		}
		all = append([]string{dir}, all...)
	}
	return all, nil
}

func (d *disk) isDir(name string) (bool, error) {
	where, err := d.at(path.Join(name, "x"))
	if err != nil {
		return false, err
	}
	info, err := os.Stat(filepath.Dir(where))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.IsDir() {
		return false, fmt.Errorf("%s: is no directory", name)
	}
	return true, nil
}

func (d *disk) mkdir(name string) error {
	if err := d.allow("mkdir", name); err != nil {
		return err
	}
	where, err := d.at(name)
	if err != nil {
		return err
	}
	err = os.Mkdir(where, 0o755)
	if errors.Is(err, fs.ErrExist) { // a link that leads nowhere is no directory
		if info, statErr := os.Stat(where); statErr == nil && info.IsDir() {
			return nil
		}
	}
	return err
}

// rmdir removes a directory when it is empty.
func (d *disk) rmdir(name string) error {
	if err := d.allow("rmdir", name); err != nil {
		return err
	}
	where, err := d.at(name)
	if err != nil {
		return err
	}
	switch err := syscall.Rmdir(where); err {
	case nil, syscall.ENOENT, syscall.ENOTEMPTY, syscall.EEXIST, syscall.ENOTDIR, syscall.EBUSY:
		return nil
	default:
		return fmt.Errorf("remove %s: %w", name, err)
	}
}

// matches lists where the paths that match are on this machine, in order.
func (d *disk) matches(pattern string) ([]string, error) {
	where, err := d.at(pattern)
	if err != nil {
		return nil, err
	}
	found, err := filepath.Glob(where)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", pattern, err)
	}
	return found, nil
}

// glob lists the paths that match, in order: the last element alone may be a pattern.
func (d *disk) glob(pattern string) ([]string, error) {
	found, err := d.matches(pattern)
	if err != nil {
		return nil, err
	}
	for i, one := range found {
		found[i] = path.Join(path.Dir(pattern), filepath.Base(one))
	}
	return found, nil
}
