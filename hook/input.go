// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// readAll reads to the end of r, at most limit bytes; more is an error. hint is
// the number of bytes to expect.
func readAll(r io.Reader, limit, hint int64) ([]byte, error) {
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

// readRegular reads a regular file of at most limit bytes. It never waits for a
// pipe or a device that stands in the file's place.
func readRegular(path string, limit int64) ([]byte, fs.FileInfo, error) {
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
	raw, err := readAll(file, limit, info.Size())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return raw, info, nil
}
