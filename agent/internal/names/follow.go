// SPDX-License-Identifier: Apache-2.0

package names

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/container"
)

// Containers is where containers are registered: a container.Registry.
type Containers interface {
	Subscribe(func(container.Change)) (cancel func())
	List() []*container.Container
}

// Follow calls changed with the id of each container whose record may tell something
// else than when it was read last, one call at a time, until the context ends. Each
// container is told of once as it becomes known: its record may have changed before it
// was followed.
func (f *Finder) Follow(ctx context.Context, containers Containers, changed func(id string), log *slog.Logger) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("inotify: %w", err)
	}
	w := &follower{
		finder: f, fd: fd, file: os.NewFile(uintptr(fd), "inotify"), changed: changed, log: log,
		watches: map[int]map[string]bool{}, on: map[string]int{},
		wake: make(chan struct{}, 1),
	}
	defer containers.Subscribe(func(c container.Change) { w.queue(c.New) })()
	for _, c := range containers.List() {
		w.queue(c)
	}
	events := make(chan []byte)
	ended := make(chan error, 1)
	var receiving sync.WaitGroup
	receiving.Go(func() { ended <- w.receive(ctx, events) })
	err = w.run(ctx, events, ended)
	w.file.Close()
	receiving.Wait()
	return err
}

// follower follows records. All but waiting is for one goroutine.
type follower struct {
	finder  *Finder
	fd      int
	file    *os.File
	changed func(id string)
	log     *slog.Logger
	// watches is the containers whose records are in a directory, by the number of its
	// watch; on is the numbers by the containers' ids.
	watches map[int]map[string]bool
	on      map[string]int

	mu sync.Mutex
	// waiting is containers to follow, or, if they are gone, to leave.
	waiting []*container.Container
	wake    chan struct{}
}

// queue never waits: it is called as a container is registered.
func (w *follower) queue(c *container.Container) {
	w.mu.Lock()
	w.waiting = append(w.waiting, c)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *follower) run(ctx context.Context, events <-chan []byte, ended <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		case <-w.wake:
			w.take()
		case text := <-events:
			for id := range w.concerned(text) {
				w.changed(id)
			}
		}
	}
}

func (w *follower) take() {
	w.mu.Lock()
	waiting := w.waiting
	w.waiting = nil
	w.mu.Unlock()
	for _, c := range waiting {
		_, followed := w.on[c.ID]
		switch {
		case !c.Alive():
			w.leave(c.ID)
		case !followed:
			w.follow(c)
		}
	}
}

// moved are the ways in which an engine changes a record: by a new file in its place,
// or in the file.
const moved = unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE | unix.IN_ONLYDIR

// follow watches the directory of a container's record, if it has one.
func (w *follower) follow(c *container.Container) {
	_, file, err := w.finder.look(c)
	if file == "" {
		if err != nil && !errors.Is(err, ErrNone) {
			w.log.Warn("find the container's name", "container", c.ID, "error", err)
		}
		return
	}
	number, err := unix.InotifyAddWatch(w.fd, filepath.Dir(file), moved)
	if err != nil {
		// The name of now is better than none.
		w.log.Warn("follow the container's name", "container", c.ID, "file", file, "error", err)
		w.changed(c.ID)
		return
	}
	if w.watches[number] == nil {
		w.watches[number] = map[string]bool{}
	}
	w.watches[number][c.ID] = true
	w.on[c.ID] = number
	w.changed(c.ID)
}

func (w *follower) leave(id string) {
	number, followed := w.on[id]
	if !followed {
		return
	}
	delete(w.on, id)
	delete(w.watches[number], id)
	if len(w.watches[number]) > 0 {
		return
	}
	delete(w.watches, number)
	// The directory may be gone, and its watch with it.
	_, _ = unix.InotifyRmWatch(w.fd, uint32(number))
}

// receive sends what the kernel tells, each time that it has been taken.
func (w *follower) receive(ctx context.Context, events chan<- []byte) error {
	for {
		buffer := make([]byte, 16<<10) // an event has at most 272 bytes
		n, err := w.file.Read(buffer)
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("inotify: %w", err)
		}
		select {
		case events <- buffer[:n]:
		case <-ctx.Done():
			return nil
		}
	}
}

// concerned is the containers whose records have changed by the kernel's word: all
// that are followed when it has lost some of its words.
func (w *follower) concerned(text []byte) map[string]bool {
	ids := map[string]bool{}
	for len(text) >= unix.SizeofInotifyEvent {
		number := int(int32(binary.NativeEndian.Uint32(text)))
		mask, size := binary.NativeEndian.Uint32(text[4:]), int(binary.NativeEndian.Uint32(text[12:]))
		text = text[unix.SizeofInotifyEvent:]
		name, _, _ := bytes.Cut(text[:min(size, len(text))], []byte{0})
		text = text[min(size, len(text)):]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0:
			for id := range w.on {
				ids[id] = true
			}
		case mask&unix.IN_IGNORED != 0:
			w.forget(number)
		case string(name) == dockerFile || string(name) == storageFile || string(name) == volatileFile:
			for id := range w.watches[number] {
				ids[id] = true
			}
		}
	}
	return ids
}

// forget drops a watch whose directory is gone. The kernel gives no number twice.
func (w *follower) forget(number int) {
	for id := range w.watches[number] {
		delete(w.on, id)
	}
	delete(w.watches, number)
}
