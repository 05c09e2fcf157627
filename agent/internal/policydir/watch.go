// SPDX-License-Identifier: Apache-2.0

package policydir

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// watch is told by the kernel of changes in a directory. It only says that there
// were some: what they are is for a look to find out.
type watch struct {
	fd   int
	file *os.File
	// on is the directory that is watched, id its number among the watches.
	on identity
	id int
}

// changes are all that can make a look see something else.
const changes = unix.IN_CREATE | unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CLOSE_WRITE | unix.IN_MOVED_FROM |
	unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

func newWatch() (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	return &watch{fd: fd, file: os.NewFile(uintptr(fd), "inotify"), id: -1}, nil
}

// follow watches the directory that a path leads to now.
func (w *watch) follow(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	if w.id >= 0 && w.on.dev == st.Dev && w.on.ino == st.Ino {
		return nil
	}
	id, err := unix.InotifyAddWatch(w.fd, dir, changes)
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	if w.id >= 0 && w.id != id {
		// It may be gone, and its watch with it.
		_, _ = unix.InotifyRmWatch(w.fd, uint32(w.id))
	}
	w.on, w.id = identityOf(&st), id
	return nil
}

// run sends for what the kernel tells until the context ends or close is called. It
// reads on when somebody has taken notice: the kernel's queue is bounded, and what
// is lost of it does not matter.
func (w *watch) run(ctx context.Context, tell chan<- struct{}) error {
	buffer := make([]byte, 4096) // an event has at most 272 bytes
	for {
		if _, err := w.file.Read(buffer); err != nil {
			if errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("inotify: %w", err)
		}
		select {
		case tell <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *watch) close() error { return w.file.Close() }
