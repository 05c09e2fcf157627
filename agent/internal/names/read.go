// SPDX-License-Identifier: Apache-2.0

package names

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// identity tells files and their versions apart: engines replace their records.
type identity struct {
	dev, ino uint64
	size     int64
	changed  unix.Timespec
}

// openRecord opens a record, which may be larger than limit if somebody writes to it.
// The error wraps fs.ErrNotExist if there is none.
func openRecord(file string, limit int64) (*os.File, identity, error) {
	// Not by a link, and without waiting for the writer of a pipe.
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	f, err := os.OpenFile(file, flags, 0)
	if err != nil {
		return nil, identity{}, err
	}
	of, err := check(f, limit)
	if err != nil {
		f.Close()
		return nil, identity{}, fmt.Errorf("%s: %w", file, err)
	}
	return f, of, nil
}

func check(f *os.File, limit int64) (identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return identity{}, err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return identity{}, fmt.Errorf("not a regular file")
	case st.Uid != 0 && st.Uid != uint32(os.Geteuid()):
		return identity{}, fmt.Errorf("is of user %d, and not of root", st.Uid)
	case st.Mode&(unix.S_IWGRP|unix.S_IWOTH) != 0:
		return identity{}, fmt.Errorf("mode %04o: others than its user may write it", st.Mode&0o7777)
	case st.Size > limit:
		return identity{}, fmt.Errorf("%d bytes, more than %d", st.Size, limit)
	}
	return identity{st.Dev, st.Ino, st.Size, st.Ctim}, nil
}

// readRecord reads a record of at most limit bytes.
func readRecord(file string, limit int64) ([]byte, error) {
	f, _, err := openRecord(file, limit)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, limit)
}

func readAll(f *os.File, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", f.Name(), limit)
	}
	return text, nil
}

// maxStores is how many lists of containers are kept.
const maxStores = 8

// stores keeps lists of containers as they were last read: a list is of all
// containers, and is asked for each of them when it changes.
type stores struct {
	mu   sync.Mutex
	read map[string]store
}

type store struct {
	of  identity
	all map[string]Names
}

// find returns what a list tells of a container.
func (s *stores) find(file, id string) (Names, bool, error) {
	f, of, err := openRecord(file, maxStorageFile)
	if err != nil {
		return Names{}, false, err
	}
	defer f.Close()
	s.mu.Lock()
	known, ok := s.read[file]
	s.mu.Unlock()
	if !ok || known.of != of {
		text, err := readAll(f, maxStorageFile)
		if err != nil {
			return Names{}, false, err
		}
		all, err := parseStorage(text)
		if err != nil {
			return Names{}, false, fmt.Errorf("%s: %w", file, err)
		}
		known = store{of, all}
		s.keep(file, known)
	}
	n, ok := known.all[id]
	return n, ok, nil
}

func (s *stores) keep(file string, known store) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read == nil || len(s.read) >= maxStores {
		s.read = map[string]store{}
	}
	s.read[file] = known
}
