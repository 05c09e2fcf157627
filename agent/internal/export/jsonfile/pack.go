// SPDX-License-Identifier: Apache-2.0

package jsonfile

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// pack packs an old file, unless that was done. There is at every moment a whole
// one, packed or not.
func (f *File) pack(ctx context.Context, name string) error {
	from, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pack old file: %w", err)
	}
	defer from.Close()
	if _, err := os.Lstat(name + packed); errors.Is(err, fs.ErrNotExist) {
		if err := f.packInto(ctx, name+packed+begun, from); err != nil {
			return fmt.Errorf("pack old file: %w", errors.Join(err, remove(name+packed+begun)))
		}
		if err := os.Rename(name+packed+begun, name+packed); err != nil {
			return fmt.Errorf("pack old file: %w", err)
		}
	}
	if err := os.Remove(name); err != nil {
		return fmt.Errorf("pack old file: %w", err)
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// packInto writes all of a file, packed, to a new one, and waits until the disk
// has it.
func (f *File) packInto(ctx context.Context, path string, from io.Reader) (err error) {
	if err := remove(path); err != nil { // of an agent that was killed
		return err
	}
	into, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.perm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, into.Close()) }()
	if err := into.Chmod(f.perm); err != nil {
		return err
	}
	z := gzip.NewWriter(into)
	if _, err := io.Copy(z, interruptible{ctx, from}); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return into.Sync()
}

// interruptible is a reader that fails once its context has ended.
type interruptible struct {
	ctx  context.Context
	from io.Reader
}

// Read reads what the reader has.
func (r interruptible) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}
