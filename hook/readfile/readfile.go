// SPDX-License-Identifier: Apache-2.0

// Package readfile reads what others wrote: with a bound, and without waiting
// for a pipe or a device that stands in a file's place.
package readfile

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// All reads to the end of r, at most limit bytes; more is an error. hint is
// the number of bytes to expect.
func All(r io.Reader, limit, hint int64) ([]byte, error) {
	// ReadFrom wants MinRead bytes free to see the end without growing.
	raw := bytes.NewBuffer(make([]byte, 0, min(hint, limit)+bytes.MinRead))
	if _, err := raw.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return nil, err
	}
	if int64(raw.Len()) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return raw.Bytes(), nil
}

// Regular reads a regular file of at most limit bytes, and returns what it is.
func Regular(path string, limit int64) ([]byte, fs.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: not a regular file", path)
	}
	raw, err := All(file, limit, info.Size())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return raw, info, nil
}
