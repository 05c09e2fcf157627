// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxMaps bounds what is read of a process's list of mappings.
	maxMaps = 16 << 20
	// maxStat is more than /proc/PID/stat has.
	maxStat = 4096
	// tick is the unit of times in /proc, in ns.
	tick = 10_000_000
	// maxCached bounds the memory of symbols of files, in bytes; it is emptied when
	// full: what is in use is back soon.
	maxCached = 128 << 20
	// maxFiles bounds their number.
	maxFiles = 1024
)

// mapping is a part of a process's memory.
type mapping struct {
	start, end, offset uint64
	path               string
}

var errGone = errors.New("process is gone")

// name names the functions of a stack; nil when the process is gone.
func (s *Symbols) name(pid uint32, start uint64, stack []uint64) []Frame {
	dir := filepath.Join(s.options.Proc, strconv.FormatUint(uint64(pid), 10))
	maps, err := mappings(dir, start)
	if err != nil {
		return nil
	}
	files := map[int]*elfFile{}
	frames := make([]Frame, len(stack))
	for i, address := range stack {
		at := slices.IndexFunc(maps, func(m mapping) bool { return m.start <= address && address < m.end })
		if at < 0 {
			continue
		}
		m := maps[at]
		offset := address - m.start + m.offset
		frames[i] = Frame{Module: strings.TrimSuffix(m.path, " (deleted)"), Offset: offset}
		if !strings.HasPrefix(m.path, "/") {
			continue
		}
		file, known := files[at]
		if !known {
			file = s.modules.file(filepath.Join(dir, "map_files", fmt.Sprintf("%x-%x", m.start, m.end)))
			files[at] = file
		}
		if file == nil {
			continue
		}
		if name, into, ok := file.find(offset, i > 0); ok {
			frames[i].Symbol, frames[i].Offset = name, into
		}
	}
	return frames
}

// mappings are those of a process that started then.
func mappings(dir string, start uint64) ([]mapping, error) {
	text, err := readSome(filepath.Join(dir, "maps"), maxMaps)
	if err != nil {
		return nil, err
	}
	// Asked after, so that the list is not of one that has the number now.
	stat, err := readSome(filepath.Join(dir, "stat"), maxStat)
	if err != nil {
		return nil, err
	}
	if ticks, ok := startTicks(string(stat)); !ok || ticks != start/tick {
		return nil, errGone
	}
	return parseMaps(string(text)), nil
}

func readSome(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, most))
}

// startTicks is the field 22 of a process's stat. The second is a name, which can
// have anything in it.
func startTicks(stat string) (uint64, bool) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, false
	}
	const first = 3 // number of the first field behind the name
	fields := strings.Fields(stat[end+1:])
	if len(fields) <= 22-first {
		return 0, false
	}
	ticks, err := strconv.ParseUint(fields[22-first], 10, 64)
	return ticks, err == nil
}

// parseMaps takes the mappings that can be executed out of lines "start-end perms
// offset device inode path".
func parseMaps(text string) []mapping {
	var all []mapping
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(fields) < 5 || !strings.Contains(fields[1], "x") {
			continue
		}
		first, behind, _ := strings.Cut(fields[0], "-")
		start, err := strconv.ParseUint(first, 16, 64)
		end, err2 := strconv.ParseUint(behind, 16, 64)
		offset, err3 := strconv.ParseUint(fields[2], 16, 64)
		if errors.Join(err, err2, err3) != nil || end < start {
			continue
		}
		m := mapping{start: start, end: end, offset: offset}
		if len(fields) == 6 {
			m.path = strings.TrimLeft(fields[5], " ")
		}
		all = append(all, m)
	}
	return all
}

// fileKey names a file and what is in it: nobody can set ctime back.
type fileKey struct {
	dev, inode uint64
	size       int64
	changed    unix.Timespec
}

// module is the symbols of a file, nil when it has none.
type module struct{ file *elfFile }

// modules is the files that were read. It is safe for concurrent use.
type modules struct {
	mu     sync.Mutex
	byFile map[fileKey]*module
	bytes  int
}

// file is the symbols of a file, nil when it has none.
func (m *modules) file(path string) *elfFile {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	key := fileKey{dev: st.Dev, inode: st.Ino, size: st.Size, changed: st.Ctim}
	m.mu.Lock()
	known := m.byFile[key]
	m.mu.Unlock()
	if known != nil {
		return known.file
	}
	parsed, err := parseELF(file, st.Size)
	if err != nil {
		parsed = nil
	}
	m.keep(key, parsed)
	return parsed
}

func (m *modules) keep(key fileKey, file *elfFile) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	if file != nil {
		n = file.bytes
	}
	if m.bytes+n > maxCached || len(m.byFile) >= maxFiles {
		clear(m.byFile)
		m.bytes = 0
	}
	if m.byFile[key] == nil {
		m.bytes += n
	}
	m.byFile[key] = &module{file}
}
