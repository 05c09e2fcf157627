// SPDX-License-Identifier: Apache-2.0

package policydir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// Bounds of what a directory may hold. One that holds more is not taken in at all.
const (
	// maxEntries is how many names there may be, those of other files included.
	maxEntries = 4096
	// maxFiles is how many policies.
	maxFiles = 1024
	// maxBytes is how long their texts may be together.
	maxBytes = 64 << 20
)

// identity is what a look compares: it changes when a file does.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime unix.Timespec
	mode         uint32
	// fault is why nothing else is known.
	fault string
}

func identityOf(st *unix.Stat_t) identity {
	return identity{
		dev: st.Dev, ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim, mode: st.Mode,
	}
}

// view is what a look saw: the files by name.
type view map[string]identity

func isPolicy(name string) bool {
	ext := filepath.Ext(name)
	return !strings.HasPrefix(name, ".") && (ext == ".yaml" || ext == ".yml")
}

// look sees what is in a directory now. The error wraps fs.ErrNotExist when there
// is no directory.
func look(dir string) (view, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open policy directory: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(maxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read policy directory: %w", err)
	}
	if len(names) > maxEntries {
		return nil, fmt.Errorf("policy directory %s has more than %d entries", dir, maxEntries)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !isPolicy(name) })
	if len(names) > maxFiles {
		return nil, fmt.Errorf("policy directory %s has %d policies, more than %d", dir, len(names), maxFiles)
	}
	seen, total := view{}, int64(0)
	for _, name := range names {
		id, there := identify(filepath.Join(dir, name))
		if !there {
			continue
		}
		seen[name] = id
		if id.size <= policy.MaxTextBytes {
			total += id.size // what is longer is not read
		}
	}
	if total > maxBytes {
		return nil, fmt.Errorf("policies of directory %s are %d bytes long together, more than %d", dir, total, maxBytes)
	}
	return seen, nil
}

// identify is a file's identity, and whether there is a file. What cannot be looked
// at, like the end of a broken link, is a file with a fault.
func identify(path string) (identity, bool) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if errors.Is(err, unix.ENOENT) {
		if unix.Lstat(path, &st) != nil {
			return identity{}, false // removed meanwhile
		}
		return identity{fault: "link leads nowhere"}, true
	}
	switch {
	case err != nil:
		return identity{fault: err.Error()}, true
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return identity{mode: st.Mode, fault: "is no regular file"}, true
	}
	return identityOf(&st), true
}

// errBusy says that a file changed while it was read.
var errBusy = errors.New("changes while it is read")

// read is the text of a file, if it still is what a look saw. A text that is too
// long is cut, and refused for its length by whoever parses it.
func read(path string, seen identity) ([]byte, error) {
	if seen.fault != "" {
		return nil, errors.New(seen.fault)
	}
	// A pipe that took the file's place must not make this wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		var reason *fs.PathError
		if errors.As(err, &reason) {
			err = reason.Err // the path is told with all faults
		}
		return nil, fmt.Errorf("open: %w", err)
	}
	defer f.Close()
	same := func() bool {
		var st unix.Stat_t
		return unix.Fstat(int(f.Fd()), &st) == nil && identityOf(&st) == seen
	}
	if !same() {
		return nil, errBusy
	}
	text, err := io.ReadAll(io.LimitReader(f, policy.MaxTextBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if !same() {
		return nil, errBusy
	}
	return text, nil
}
