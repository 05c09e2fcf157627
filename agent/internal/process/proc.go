// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/boltseal/boltseal/bpf"
)

// kernelThread is PF_KTHREAD in the flags of a process.
const kernelThread = 0x00200000

// Scan says what to find out about processes that run.
type Scan struct {
	// Environment: their environments too.
	Environment bool
	// CgroupID, if not nil, is asked for the cgroup of each; it returns 0 when it cannot
	// tell.
	CgroupID func(pid int) uint64
}

// FromProc finds the processes that run, in the proc file system at root, which
// must be of the initial pid namespace. Processes that end meanwhile are left
// out. What cannot be read of a process stays empty; an error means that processes
// could not be listed.
func FromProc(root string, scan Scan) ([]Info, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []Info
	host := HostNamespaces(root)
	parents := map[uint32]uint32{}
	starts := map[uint32]uint64{}
	pids := map[uint32][]uint32{}
	for _, entry := range entries {
		pid, err := strconv.ParseUint(entry.Name(), 10, 32)
		if err != nil || pid == 0 {
			continue
		}
		dir := filepath.Join(root, entry.Name())
		i, s, err := readProcess(dir, uint32(pid))
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read process %d: %w", pid, err)
		}
		const user = bpf.WireNamespaceKindNAMESPACE_USER
		if ns := i.State.Namespaces[user]; ns != 0 && ns == host[user] {
			i.State.UserNSLevel = 0
		}
		if scan.Environment && !s.kernel {
			i.readEnv(dir)
		}
		if scan.CgroupID != nil {
			i.CgroupID = scan.CgroupID(int(pid))
		}
		found = append(found, i)
		parents[i.Key.Tgid], starts[i.Key.Tgid], pids[i.Key.Tgid] = s.parent, i.Key.Start, s.pids
	}
	for n := range found {
		tgid := found[n].Key.Tgid
		found[n].Parent = Key{Tgid: parents[tgid], Start: starts[parents[tgid]]}
		found[n].Tree = treeOf(tgid, parents, pids)
	}
	return found, nil
}

// treeOf finds whether a process that is in a pid namespace below the host's descends
// from the first one of it. What a parent left behind is, when it has become a child
// of the first one, taken for its own.
func treeOf(tgid uint32, parents map[uint32]uint32, pids map[uint32][]uint32) Tree {
	if len(pids[tgid]) < 2 {
		return TreeUnknown
	}
	const depth = 1 << 10
	for range depth {
		switch ids := pids[tgid]; {
		case len(ids) < 2:
			return OutOfTree
		case ids[1] == 1:
			return InTree
		}
		tgid = parents[tgid]
	}
	return TreeUnknown
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// known is what a process's directory tells for others.
type known struct {
	stat
	pids []uint32 // in the pid namespaces that it is in, the host's first
}

// readProcess fails only when there is no process or its stat is not understood.
func readProcess(dir string, tgid uint32) (i Info, s known, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return Info{}, known{}, err
	}
	if s.stat, err = parseStat(string(text)); err != nil {
		return Info{}, known{}, err
	}
	i = Info{Key: Key{Tgid: tgid, Start: s.start}, AUID: NoAUID, Flags: ProcFS}
	if text, err = os.ReadFile(filepath.Join(dir, "status")); err != nil {
		return Info{}, known{}, err
	}
	status, err := parseStatus(string(text))
	if err != nil {
		return Info{}, known{}, err
	}
	i.UID, i.State, s.pids = status.state.UID, &status.state, status.pids
	i.State.Namespaces = NamespacesOf(dir)
	if text, err := os.ReadFile(filepath.Join(dir, "loginuid")); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32); err == nil {
			i.AUID = uint32(n)
		}
	}
	switch err = i.readBinary(dir); {
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
	return i, s, nil
}

func (i *Info) readBinary(dir string) error {
	exe := filepath.Join(dir, "exe")
	target, err := os.Readlink(exe)
	var deleted bool
	if i.Binary, deleted = strings.CutSuffix(target, " (deleted)"); !deleted {
		return err
	}
	// A file can also be called so.
	if info, err := os.Stat(exe); err == nil {
		if file, ok := info.Sys().(*syscall.Stat_t); ok && file.Nlink == 0 {
			i.File = &File{Inode: file.Ino, Unlinked: true}
		}
	}
	return nil
}

func (i *Info) readArgs(dir string) {
	args, whole, err := readStrings(filepath.Join(dir, "cmdline"))
	i.Args = args
	if err != nil {
		i.Flags |= ErrorArgs
	} else if !whole {
		i.Flags |= TruncArgs
	}
}

func (i *Info) readEnv(dir string) {
	env, whole, err := readStrings(filepath.Join(dir, "environ"))
	i.Env = env
	if err != nil || !whole {
		i.Flags |= ErrorEnvs
	}
}

// readStrings reads what is kept of strings that a process has.
func readStrings(path string) (kept []string, whole bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, keptBytes+1))
	if err != nil {
		return nil, false, err
	}
	kept, whole = Keep(string(text))
	return kept, whole, nil
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
