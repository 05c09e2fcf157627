// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// kernelThread is PF_KTHREAD in the flags of a process.
const kernelThread = 0x00200000

// maxArgs is how much of the arguments is kept, as the kernel programs do.
const maxArgs = 4095

// FromProc finds the processes that run, in the proc file system at root, which
// must be of the initial pid namespace. Processes that end meanwhile are left
// out. cgroupID, if not nil, is asked for the cgroup of each; it returns 0 when
// it cannot tell. What cannot be read of a process stays empty; an error means
// that processes could not be listed.
func FromProc(root string, cgroupID func(pid int) uint64) ([]Info, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []Info
	parents := map[uint32]uint32{}
	starts := map[uint32]uint64{}
	for _, entry := range entries {
		pid, err := strconv.ParseUint(entry.Name(), 10, 32)
		if err != nil || pid == 0 {
			continue
		}
		i, parent, err := readProcess(filepath.Join(root, entry.Name()), uint32(pid))
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read process %d: %w", pid, err)
		}
		if cgroupID != nil {
			i.CgroupID = cgroupID(int(pid))
		}
		found = append(found, i)
		parents[i.Key.Tgid], starts[i.Key.Tgid] = parent, i.Key.Start
	}
	for n := range found {
		parent := parents[found[n].Key.Tgid]
		found[n].Parent = Key{Tgid: parent, Start: starts[parent]}
	}
	return found, nil
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// readProcess fails only when there is no process or its stat is not understood.
func readProcess(dir string, tgid uint32) (i Info, parent uint32, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return Info{}, 0, err
	}
	s, err := parseStat(string(text))
	if err != nil {
		return Info{}, 0, err
	}
	i = Info{Key: Key{Tgid: tgid, Start: s.start}, AUID: NoAUID, Flags: ProcFS}
	if i.UID, err = readUID(dir); err != nil {
		return Info{}, 0, err
	}
	if text, err := os.ReadFile(filepath.Join(dir, "loginuid")); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32); err == nil {
			i.AUID = uint32(n)
		}
	}
	i.Binary, err = os.Readlink(filepath.Join(dir, "exe"))
	switch i.Binary = strings.TrimSuffix(i.Binary, " (deleted)"); {
	case s.kernel:
		i.Binary = "[" + s.comm + "]" // as ps writes it
	case err != nil:
		i.Flags |= ErrorFilename
	}
	i.readArgs(dir)
	switch i.Cwd, err = os.Readlink(filepath.Join(dir, "cwd")); {
	case err != nil:
		i.Cwd, i.Flags = "", i.Flags|NoCwd
	case i.Cwd == "/":
		i.Flags |= RootCwd
	}
	return i, s.parent, nil
}

func (i *Info) readArgs(dir string) {
	f, err := os.Open(filepath.Join(dir, "cmdline"))
	if err != nil {
		i.Flags |= ErrorArgs
		return
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxArgs+1))
	if err != nil {
		i.Flags |= ErrorArgs
		return
	}
	if len(text) > maxArgs {
		i.Flags |= TruncArgs
		text = text[:maxArgs]
	}
	if len(text) > 0 {
		i.Args = strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	}
}

// readUID is the real user id.
func readUID(dir string) (uint32, error) {
	text, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		value, ok := bytes.CutPrefix(line, []byte("Uid:"))
		if fields := bytes.Fields(value); ok && len(fields) > 0 {
			n, err := strconv.ParseUint(string(fields[0]), 10, 32)
			return uint32(n), err
		}
	}
	return 0, fmt.Errorf("%w: no user id", errMalformed)
}

type stat struct {
	comm   string
	parent uint32
	kernel bool // a thread of the kernel
	start  uint64
}

var errMalformed = errors.New("not as the kernel writes it")

// parseStat reads /proc/PID/stat. The name in its parentheses is chosen by the
// process and can hold parentheses and newlines.
func parseStat(text string) (stat, error) {
	_, rest, opened := strings.Cut(text, "(")
	end := strings.LastIndexByte(rest, ')')
	if !opened || end < 0 {
		return stat{}, fmt.Errorf("%w: no name", errMalformed)
	}
	// After the name: field 3, the state, is the first.
	const parentField, flagsField, startField = 4 - 3, 9 - 3, 22 - 3
	fields := strings.Fields(rest[end+1:])
	if len(fields) <= startField {
		return stat{}, fmt.Errorf("%w: %d fields after the name", errMalformed, len(fields))
	}
	parent, err := strconv.ParseUint(fields[parentField], 10, 32)
	if err != nil {
		return stat{}, fmt.Errorf("%w: parent: %w", errMalformed, err)
	}
	flags, err := strconv.ParseUint(fields[flagsField], 10, 32)
	if err != nil {
		return stat{}, fmt.Errorf("%w: flags: %w", errMalformed, err)
	}
	ticks, err := strconv.ParseUint(fields[startField], 10, 64)
	if err != nil || ticks > ^uint64(0)/tick {
		return stat{}, fmt.Errorf("%w: start time %q", errMalformed, fields[startField])
	}
	return stat{comm: rest[:end], parent: uint32(parent), kernel: flags&kernelThread != 0, start: ticks * tick}, nil
}
