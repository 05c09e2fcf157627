// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/base64"
	"strconv"
	"strings"
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
	// Flags tell where this comes from and what is missing.
	Flags Flags
	// Slot and CgroupID are the container's and the process's at that time, 0
	// when not known.
	Slot     uint32
	CgroupID uint64
}

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
type Flags uint16

// The flags, in the order in which they are written.
const (
	// Exec: from an exec.
	Exec Flags = 1 << iota
	// ProcFS: found in /proc.
	ProcFS
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
	// ErrorCwd: the path of the working directory was too long.
	ErrorCwd
	// Clone: forked; on an exec: the first one after the fork.
	Clone
)

// String is the words of the flags, with spaces between.
func (f Flags) String() string {
	var words []string
	for i, word := range [...]string{
		"execve", "procFS", "truncArgs", "miss", "errorFilename", "errorArgs", "nocwd", "rootcwd", "errorCWD", "clone",
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
	const fixed = 640 // the structs, two map entries, a list element
	n := fixed + len(p.ExecID) + len(p.ParentExecID) + len(p.Binary) + len(p.Cwd)
	for _, a := range p.Args {
		n += len(a) + 16
	}
	return n
}
