// SPDX-License-Identifier: Apache-2.0

package jsonfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Rotation is when a new file is begun, and what becomes of old ones.
type Rotation struct {
	// MaxBytes is the most that a file has, unless one line is more; more than 0.
	MaxBytes int64
	// Interval is how old a file becomes that is not empty; 0: as old as it likes.
	Interval time.Duration
	// MaxBackups is how many old files are kept; 0: all.
	MaxBackups int
}

// Options are those of a File. All but Compress are needed.
type Options struct {
	// Path is absolute. Its directory is made when it is not there.
	Path     string
	Rotation Rotation
	// Compress packs old files with gzip.
	Compress bool
	// Perm is the permissions of the file and of the old ones, whatever the umask is.
	Perm fs.FileMode
	Log  *slog.Logger
}

// File is a file of lines. It is safe for concurrent use.
type File struct {
	path     string
	perm     fs.FileMode
	compress bool
	log      *slog.Logger

	mu       sync.Mutex
	rotation Rotation
	file     *os.File // nil: could not be opened
	dev, ino uint64   // of file
	size     int64
	begun    time.Time
	torn     bool // there is a part of a line after size
	closed   bool

	changed chan struct{} // has an element when keep is to look
	stop    context.CancelFunc
	done    chan struct{}
}

// Open opens or makes the file, to append to it. A line that an earlier writer did
// not end is cut off. Close it.
func Open(o Options) (*File, error) {
	f := &File{
		path: o.Path, perm: o.Perm.Perm(), compress: o.Compress, rotation: o.Rotation,
		log:     o.Log.With("file", o.Path),
		changed: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o750); err != nil {
		return nil, fmt.Errorf("make directory of export file: %w", err)
	}
	if err := f.open(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	go f.keep(ctx)
	f.look() // there may be work that was cut short
	return f, nil
}

// WriteLine appends a line, whose end is its only newline. On an error nothing of
// it stays in the file.
func (f *File) WriteLine(line []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fmt.Errorf("write %s: %w", f.path, fs.ErrClosed)
	}
	if err := f.find(); err != nil {
		return err
	}
	if f.size > 0 && f.size+int64(len(line)) > f.rotation.MaxBytes {
		if err := f.rotate(); f.file == nil {
			return err
		}
	}
	if f.torn {
		if err := f.cut(); err != nil {
			line = append([]byte{'\n'}, line...)
		}
	}
	n, err := f.file.Write(line)
	if err != nil {
		if n > 0 {
			f.torn = true
			_ = f.cut() // else it is tried again before the next line
		}
		return fmt.Errorf("write export file: %w", err)
	}
	f.size += int64(n)
	f.torn = false
	return nil
}

// cut cuts off a part of a line.
func (f *File) cut() error {
	if err := f.file.Truncate(f.size); err != nil {
		return err
	}
	f.torn = false
	return nil
}

// find makes sure that the open file is the one of that name, and learns its size.
func (f *File) find() error {
	if f.file == nil {
		return f.open()
	}
	var named unix.Stat_t
	if err := unix.Lstat(f.path, &named); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil // it is written to as long as that goes
	} else if err == nil && named.Dev == f.dev && named.Ino == f.ino {
		if !f.torn || named.Size < f.size {
			f.size, f.torn = named.Size, false
		}
		return nil
	}
	return f.reopen()
}

// Reopen begins to write to the file of that name, which is made when there is
// none. On an error the next line tries it again.
func (f *File) Reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	return f.reopen()
}

func (f *File) reopen() error {
	if f.file != nil {
		_ = f.file.Close() // nothing is buffered
		f.file = nil
	}
	return f.open()
}

// Rotation is the rotation in force.
func (f *File) Rotation() Rotation {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rotation
}

// SetRotation changes the rotation from now on: of the file that is written as well.
func (f *File) SetRotation(r Rotation) {
	f.mu.Lock()
	f.rotation = r
	f.mu.Unlock()
	f.look()
}

// look makes keep look at what there is to do.
func (f *File) look() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// Close ends the writing: what was written is on the disk. Packing is cut short.
func (f *File) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	f.closed = true
	var err error
	if f.file != nil {
		err = errors.Join(f.file.Sync(), f.file.Close())
		f.file = nil
	}
	f.mu.Unlock()
	f.stop()
	<-f.done
	if err != nil {
		return fmt.Errorf("close export file: %w", err)
	}
	return nil
}
