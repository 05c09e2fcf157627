// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/boltseal/boltseal/bpf"
)

// Key names a process: ids are used again, but not within one start time.
type Key struct {
	// Tgid is the process id in the initial pid namespace.
	Tgid uint32
	// Start is when the process started, in ns since boot. Processes that were
	// found in /proc have it in whole hundredths of a second only.
	Start uint64
}

// Info is what a fork, an exec or /proc tells of a process. Values are
// immutable, Args too.
type Info struct {
	// Key is the process and Parent its real parent. A parent with the tgid 0 is
	// the kernel.
	Key, Parent Key
	// Maker is the process that a fork has copied, where that is not the parent.
	Maker Key
	// UID is the real user id, AUID that of the login, [NoAUID] when there is
	// none. A fork does not tell the latter: it is copied.
	UID, AUID uint32
	// Binary is the path of the executed file, Args are argv with argv[0], and Cwd
	// is the working directory. All three can hold any bytes but NUL, and are
	// empty when they are not known.
	Binary string
	Args   []string
	Cwd    string
	// Env is the environment, KEY=VALUE as a rule; nil unless it was asked for.
	Env []string
	// State is what it may do and what it sees, nil when not known.
	State *State
	// File is what is out of the ordinary about the executed file; nil: nothing is, or
	// it was forked.
	File *File
	// Tree tells whether it descends from its container's first process.
	Tree Tree
	// Flags tell where this comes from and what is missing.
	Flags Flags
	// NSPid is the process id in the process's own pid namespace, 0 when not known.
	NSPid uint32
	// Slot and CgroupID are the container's and the process's at that time, 0
	// when not known.
	Slot     uint32
	CgroupID uint64
}

// State is what a process may do and what it sees.
type State struct {
	// The real, saved and effective ids, and those for files.
	UID, GID, SUID, SGID, EUID, EGID, FSUID, FSGID uint32
	// SecureBits are as of prctl(PR_GET_SECUREBITS). /proc does not tell them.
	SecureBits uint32
	// Inheritable, Permitted and Effective are sets of capabilities: bit 1<<n is of
	// capability n.
	Inheritable, Permitted, Effective uint64
	// UserNSLevel is how deep the user namespace is, 0 the host's; UserNSOwner and
	// UserNSGroup are the effective ids of who made it. /proc does not tell these
	// three; the level is then LevelUnknown, unless the namespace is the host's.
	UserNSLevel              int32
	UserNSOwner, UserNSGroup uint32
	// Namespaces are the inode numbers of its namespaces.
	Namespaces Namespaces
}

// LevelUnknown is the level of a user namespace of which nothing but the inode
// number is known.
const LevelUnknown = int32(-1)

// Namespaces are inode numbers by [bpf.WireNamespaceKind], 0 where the kernel has no
// such or it could not be read.
type Namespaces = [bpf.WireNamespaceKindNAMESPACE_KINDS]uint32

// File is what is out of the ordinary about an executed file.
type File struct {
	// SetUID, SetGID and Capabilities tell that the file's mode bits or capabilities
	// have given the process effective ids that are not its real ones, or capabilities.
	SetUID, SetGID, Capabilities bool
	// EUID and EGID are the effective ids after the exec.
	EUID, EGID uint32
	// Inode is the file's number when it has no name: it is in memory only (memfd), or
	// was deleted. Otherwise Unlinked is false.
	Inode    uint64
	Unlinked bool
}

// Tree tells whether a process descends from the first one of its container.
type Tree uint8

// Relations to the first process of the container.
const (
	// TreeUnknown: it is in no container, or nobody can tell.
	TreeUnknown Tree = iota
	// InTree: it is that process or descends from it.
	InTree
	// OutOfTree: the runtime has put it into the container beside that process, or one
	// that it descends from.
	OutOfTree
)

// NoAUID is the login user id of processes that no login made.
const NoAUID = ^uint32(0)

// Process is one process from one exec (or its fork) to the next.
type Process struct {
	Info
	// ExecID is unique among all processes of all nodes.
	ExecID string
	// ParentExecID is the exec id of the parent.
	ParentExecID string
	// Since is when it executed its file or was forked, in ns since boot.
	Since uint64
}

// Flags tell where what is known of a process comes from, and what is missing.
type Flags uint32

// The flags, in the order in which they are written.
const (
	// Exec: from an exec.
	Exec Flags = 1 << iota
	// ProcFS: found in /proc.
	ProcFS
	// ErrorEnvs: some of the environment, or all, could not be read.
	ErrorEnvs
	// TruncArgs: the arguments were cut.
	TruncArgs
	// Miss: nothing but ids is known; it was seen first when it was over, or had
	// to make room.
	Miss
	// ErrorFilename: the path of the file was too long.
	ErrorFilename
	// ErrorArgs: the arguments could not be read.
	ErrorArgs
	// NoCwd: there is no working directory.
	NoCwd
	// RootCwd: the working directory is the root.
	RootCwd
	// ErrorCwd: the path of the working directory could not be read.
	ErrorCwd
	// Clone: forked; on an exec: the first one after the fork.
	Clone
	// ErrorCgroupID: the cgroup is not known.
	ErrorCgroupID
	// ErrorPathCwd: the path of the working directory was too long, which is an
	// ErrorCwd.
	ErrorPathCwd
	// DataArgs: the arguments were so long that they came in parts.
	DataArgs
	// InInitTree: descends from the first process of the container; set in messages of
	// processes that are in one.
	InInitTree
)

// String is the words of the flags, with spaces between.
func (f Flags) String() string {
	var words []string
	for i, word := range [...]string{
		"execve", "procFS", "errorEnvs", "truncArgs", "miss", "errorFilename", "errorArgs", "nocwd", "rootcwd", "errorCWD",
		"clone", "errorCgroupID", "errorPathResolutionCwd", "dataArgs", "inInitTree",
	} {
		if f&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

// execID is the exec id of a process of a node that began at a time.
func execID(node string, since uint64, tgid uint32) string {
	var buffer [64]byte
	id := append(append(buffer[:0], node...), ':')
	id = append(strconv.AppendUint(id, since, 10), ':')
	return base64.StdEncoding.EncodeToString(strconv.AppendUint(id, uint64(tgid), 10))
}

// bytes is about what a process takes in memory. Strings that a fork shares with
// its parent are counted for both, as each may outlive the other.
func (p *Process) bytes() int {
	const fixed = 680 // the structs, two map entries, a list element
	n := fixed + len(p.ExecID) + len(p.ParentExecID) + len(p.Binary) + len(p.Cwd)
	for _, list := range [...][]string{p.Args, p.Env} {
		for _, s := range list {
			n += len(s) + stringBytes
		}
	}
	if p.State != nil {
		n += 136
	}
	return n
}

// stringBytes is what a string takes beside its characters.
const stringBytes = 16

// inherit takes over what a process that has executed nothing has of who forked it.
func (i *Info) inherit(maker *Info) {
	i.AUID, i.Binary, i.Args, i.Cwd, i.Env = maker.AUID, maker.Binary, maker.Args, maker.Cwd, maker.Env
	const passedOn = ErrorEnvs | TruncArgs | Miss | ErrorFilename | ErrorArgs | NoCwd | RootCwd | ErrorCwd | ErrorPathCwd | DataArgs
	i.Flags |= Clone | maker.Flags&passedOn
}

// keptBytes is about how much memory the arguments of one process may take, and its
// environment, while the process is remembered: 2 MiB of them are no reason to
// forget others.
const keptBytes = 16 << 10

// Keep splits strings with a NUL at the end of each into those that a process is
// remembered with. Of the first one that there is no room for the beginning is kept;
// whole is false then.
func Keep(text string) (kept []string, whole bool) {
	if text == "" {
		return nil, true
	}
	room := keptBytes
	for s := range strings.SplitSeq(strings.TrimSuffix(text, "\x00"), "\x00") {
		if room -= stringBytes; room <= 0 {
			return kept, false
		}
		if len(s) > room {
			return append(kept, strings.Clone(s[:room])), false
		}
		room -= len(s)
		kept = append(kept, strings.Clone(s))
	}
	return kept, true
}
