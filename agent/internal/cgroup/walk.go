// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Walk calls fn for each cgroup below the root, parents before children, the
// root itself left out. Cgroups that come or go meanwhile may be seen or not;
// neither is an error. When fn returns fs.SkipDir the cgroup's children are
// left out, fs.SkipAll ends the walk without error, and any other error ends
// it and is returned.
//
// A cgroup that cannot be entered for another reason (a path that is longer
// than the kernel takes) does not end the walk, and is reported at the end.
func (r Root) Walk(fn func(path string, id uint64) error) error {
	return r.walk("/", fn)
}

func (r Root) walk(from string, fn func(path string, id uint64) error) error {
	var unread []error
	// Not recursive, and no descriptor is held: the depth is a container's choice.
	todo := []string{from}
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		id, children, err := r.list(p)
		switch {
		case gone(err) && p != from:
			continue
		case err != nil:
			unread = append(unread, err)
			continue
		}
		if p != from {
			switch err := fn(p, id); {
			case errors.Is(err, fs.SkipAll):
				return nil
			case errors.Is(err, fs.SkipDir):
				continue
			case err != nil:
				return err
			}
		}
		for i := len(children) - 1; i >= 0; i-- {
			todo = append(todo, path.Join(p, children[i]))
		}
	}
	return errors.Join(unread...)
}

// list is the id of a cgroup with the names of its children, sorted.
func (r Root) list(p string) (uint64, []string, error) {
	fd, err := r.open(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return 0, nil, err
	}
	dir := os.NewFile(uintptr(fd), p)
	defer dir.Close()
	id, err := idOf(fd)
	if err != nil {
		return 0, nil, fmt.Errorf("list cgroup %q: %w", p, err)
	}
	entries, err := dir.ReadDir(-1)
	if err != nil && !gone(err) {
		return 0, nil, fmt.Errorf("list cgroup %q: %w", p, err)
	}
	var children []string
	for _, entry := range entries {
		if entry.IsDir() {
			children = append(children, entry.Name())
		}
	}
	slices.Sort(children)
	return id, children, nil
}

// gone tells whether err says that a cgroup was removed: a path that does not
// resolve any more, or a descriptor whose cgroup is dead.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}
