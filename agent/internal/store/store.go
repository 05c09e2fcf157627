// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/container"
)

const suffix = ".json"

// Store is a directory of containers. Its methods may be called by one goroutine at a
// time.
type Store struct {
	dir, boot string
	log       *slog.Logger
}

// record is what a file holds.
type record struct {
	// Boot is the boot in which it was written: numbers of cgroups are used again in
	// the next one.
	Boot      string
	Container container.Container
	// CgroupPath is the container's, byte for byte: it need not be UTF-8.
	CgroupPath []byte
}

// Open makes the directory if it is missing, and refuses one that others may write to.
// Boot tells one boot of the machine from all others.
func Open(dir, boot string, log *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store of containers: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("open store of containers: %w", err)
	}
	if mode := info.Mode(); !info.IsDir() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("open store of containers: %s has mode %v: must be a directory that is closed to group and others", dir, mode)
	}
	return &Store{dir: dir, boot: boot, log: log}, nil
}

// Follow writes a change of a registry down. A container without a cgroup is not
// written: nothing of it runs yet. What cannot be written is complained about: the
// agent in charge knows the container all the same.
func (s *Store) Follow(change container.Change) {
	var err error
	switch c := change.New; {
	case !c.Alive():
		err = s.Drop(c.ID)
	case c.CgroupID != 0:
		err = s.put(c)
	}
	if err != nil {
		s.log.Error("write down container for the next agent", "container", change.New.ID, "error", err)
	}
}

func (s *Store) put(c *container.Container) (retErr error) {
	text, err := json.Marshal(record{Boot: s.boot, Container: *c, CgroupPath: []byte(c.CgroupPath)})
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(s.dir, "new-*") // mode 0600, O_EXCL
	if err != nil {
		return err
	}
	defer func() {
		if retErr != nil {
			retErr = errors.Join(retErr, os.Remove(file.Name()))
		}
	}()
	_, err = file.Write(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), s.file(c.ID))
}

// Drop removes the container with the id, if it is there.
func (s *Store) Drop(id string) error {
	if err := os.Remove(s.file(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop container %s from store: %w", id, err)
	}
	return nil
}

// file is where a container is; an id may have any characters and any length.
func (s *Store) file(id string) string {
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:])+suffix)
}

// Containers are those that an earlier agent of this boot has left. Files that hold
// none are removed, and complained about unless they are of another boot or were not
// finished.
func (s *Store) Containers() ([]container.Container, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("read store of containers: %w", err)
	}
	var all []container.Container
	for _, entry := range entries {
		file := filepath.Join(s.dir, entry.Name())
		r := record{Boot: s.boot}
		if strings.HasSuffix(entry.Name(), suffix) {
			text, err := os.ReadFile(file)
			if err == nil {
				err = json.Unmarshal(text, &r)
			}
			r.Container.CgroupPath = string(r.CgroupPath)
			switch {
			case err == nil && (r.Container.ID == "" || r.Container.CgroupID == 0 || r.Container.CgroupPath == ""):
				err = errors.New("no container with a cgroup")
			case err == nil && r.Boot == s.boot:
				all = append(all, r.Container)
				continue
			}
			if err != nil {
				s.log.Warn("the store holds what no agent wrote", "file", file, "error", err)
			}
		}
		if err := os.Remove(file); err != nil {
			return nil, fmt.Errorf("tidy store of containers: %w", err)
		}
	}
	return all, nil
}
