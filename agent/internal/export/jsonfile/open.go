// SPDX-License-Identifier: Apache-2.0

package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// open opens the file of that name, or makes it. Links are not followed, and
// nothing but a file is opened: a pipe would block the writer.
func (f *File) open() (err error) {
	// O_NONBLOCK is for the opening of what turns out to be a pipe.
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, f.perm)
	if err != nil {
		return fmt.Errorf("open export file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	var opened unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &opened); err != nil {
		return fmt.Errorf("look at export file: %w", err)
	}
	if opened.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("open export file %s: it is no regular file", f.path)
	}
	if fs.FileMode(opened.Mode).Perm() != f.perm {
		if err := file.Chmod(f.perm); err != nil {
			return fmt.Errorf("open export file: %w", err)
		}
	}
	size, err := mend(file, opened.Size)
	if err != nil {
		return fmt.Errorf("mend export file %s: %w", f.path, err)
	}
	f.file, f.dev, f.ino = file, opened.Dev, opened.Ino
	f.size, f.torn, f.begun = size, false, birth(file)
	f.look()
	return nil
}

// birth is when a file was made, now if the file system does not know.
func birth(file *os.File) time.Time {
	now := time.Now()
	var s unix.Statx_t
	if err := unix.Statx(int(file.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &s); err != nil || s.Mask&unix.STATX_BTIME == 0 {
		return now
	}
	if born := time.Unix(s.Btime.Sec, int64(s.Btime.Nsec)); born.Before(now) {
		return born
	}
	return now
}

const (
	// block is how much is read at once of the end of a file.
	block = 64 << 10
	// maxPart is more than the part of a line can have that is cut off.
	maxPart = 64 << 20
)

// mend sees to it that a file ends with a line's end, and returns its size. A part
// of an event is cut off; anything else is not ours to remove, and only ended.
func mend(file *os.File, size int64) (int64, error) {
	begin, err := lastLine(file, size)
	if err != nil || begin == size {
		return size, err
	}
	if size-begin < maxPart {
		part := make([]byte, size-begin)
		if _, err := file.ReadAt(part, begin); err != nil {
			return size, err
		}
		if bytes.HasPrefix([]byte(`{"`), part[:min(2, len(part))]) && !json.Valid(part) {
			return begin, file.Truncate(begin)
		}
	}
	_, err = file.Write([]byte{'\n'})
	return size + 1, err
}

// lastLine is where the line begins that has no end; size if there is none.
func lastLine(file *os.File, size int64) (int64, error) {
	buffer := make([]byte, block)
	for end := size; end > 0; {
		n := min(end, block)
		if _, err := file.ReadAt(buffer[:n], end-n); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if at := bytes.LastIndexByte(buffer[:n], '\n'); at >= 0 {
			return end - n + int64(at) + 1, nil
		}
		end -= n
	}
	return 0, nil
}
