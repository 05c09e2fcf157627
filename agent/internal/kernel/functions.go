// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoFunctions says that this kernel has no list of functions that can be traced.
var ErrNoFunctions = errors.New("this kernel has no list of functions that can be traced (available_filter_functions): it was built without dynamic ftrace")

// functionsFile is the list; maxFunctions bounds what is read of it. Large kernels
// with all their modules have 5 MB.
const (
	functionsFile = "available_filter_functions"
	maxFunctions  = 64 << 20
)

// Functions are the names of the kernel's functions that can be traced, those of
// modules included, in order. A name that several functions have is left out: no
// program can be attached to one of them by it.
func (t *Tracefs) Functions() ([]string, error) {
	fd, err := unix.Openat(int(t.root.Fd()), functionsFile, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, ErrNoFunctions
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open tracefs", Path: functionsFile, Err: err}
	}
	f := os.NewFile(uintptr(fd), functionsFile)
	defer f.Close()
	names, err := readFunctions(io.LimitReader(f, maxFunctions))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", functionsFile, err)
	}
	return names, nil
}

// readFunctions reads lines of a name and, for a module's function, its module.
func readFunctions(from io.Reader) ([]string, error) {
	times := map[string]int{}
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		name, _, _ := strings.Cut(lines.Text(), " ")
		if name != "" && !strings.HasPrefix(name, "__ftrace_invalid_address__") {
			times[name]++
		}
	}
	names := make([]string, 0, len(times))
	for name, n := range times {
		if n == 1 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, lines.Err()
}
