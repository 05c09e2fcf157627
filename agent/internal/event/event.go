// SPDX-License-Identifier: Apache-2.0

package event

import (
	"iter"
	"math/bits"
	"slices"

	"github.com/boltseal/boltseal/bpf"
)

// Event is one record: *CgroupSealed, *CgroupGone, *Fork, *Exec, *Exit, *Site, *Data,
// *TaskUnsealed or *Armed.
type Event interface {
	// Head is what all events have.
	Head() *Header
}

// Header is what all events have: when, who, and in which container.
type Header struct {
	// Ktime is when it happened, in ns since boot.
	Ktime uint64
	// Tgid and Tid are process and thread.
	Tgid, Tid uint32
	// Start is when the process started, in ns since boot. Tgid and Start
	// together name a process; a tgid alone is used again.
	Start uint64
	// Slot is the container's index in the kernel's maps; see [bpf.WireReservedSlots]
	// for those that are no container's.
	Slot uint32
	// UID is the real user id.
	UID uint32
	// CgroupID is the cgroup of the task in the unified hierarchy.
	CgroupID uint64
}

// Head returns h itself.
func (h *Header) Head() *Header { return h }

// CgroupSealed tells that the kernel sealed a container's root cgroup.
type CgroupSealed struct {
	// Header is about the task that made the cgroup.
	Header
	// Slot is what the cgroup was sealed with; Header.Slot is the same.
	Slot uint32
	// By is why. [bpf.WireSealedBySEALED_BY_NOBODY]: there was no room, the
	// cgroup is not sealed.
	By bpf.WireSealedBy
	// ID is the cgroup's id; Header.CgroupID is that of its maker.
	ID uint64
	// Path is below the root of the unified hierarchy and starts with "/". It is
	// cut when it has 511 bytes.
	Path string
}

// CgroupGone tells that a container's root cgroup was removed.
type CgroupGone struct {
	// Header is about the task that removed it.
	Header
	// Slot is the container's.
	Slot uint32
	// ID is the id that the cgroup had.
	ID uint64
}

// Parent names the process that another one is a child of: the real parent at
// the time of the event.
type Parent struct {
	// Tgid and Start name the process, as in [Header].
	Tgid  uint32
	Start uint64
}

// Fork tells that a process (not a thread) was born; the header is the child's.
type Fork struct {
	Header
	// Parent is the child's parent, which is not the forking process when
	// CLONE_PARENT was used.
	Parent Parent
	// Maker is the forking process, of which the child is a copy.
	Maker Parent
	// NSPid is the child's process id in its own pid namespace, the innermost one.
	NSPid uint32
	// Tree tells whether the child descends from its container's first process.
	Tree bpf.WireInitTree
	// State is zero unless the programs were asked for it.
	State State
}

// State is what a process may do and what it sees.
type State struct {
	// The real, saved and effective ids, and those for files.
	UID, GID, SUID, SGID, EUID, EGID, FSUID, FSGID uint32
	// SecureBits are as of prctl(PR_GET_SECUREBITS).
	SecureBits uint32
	// Inheritable, Permitted and Effective are sets of capabilities: bit 1<<n is of
	// capability n.
	Inheritable, Permitted, Effective uint64
	// UserNSLevel is how deep the user namespace is, 0 the host's; UserNSOwner and
	// UserNSGroup are the effective ids of who made it.
	UserNSLevel              int32
	UserNSOwner, UserNSGroup uint32
	// Namespaces are the inode numbers of namespaces by their kinds, 0 where the kernel
	// has no such.
	Namespaces [bpf.WireNamespaceKindNAMESPACE_KINDS]uint32
}

// Exec tells that a process has executed a file.
type Exec struct {
	Header
	// Parent is the process's parent.
	Parent Parent
	// NSPid is the process id in the process's own pid namespace, as of [Fork].
	NSPid uint32
	// AUID is the login user id; 4294967295 when there is none.
	AUID uint32
	// Flags tell what is missing, and what of the file has given the process more than
	// it had.
	Flags bpf.WireExecFlags
	// Tree tells whether the process descends from its container's first one.
	Tree bpf.WireInitTree
	// State is that after the exec.
	State State
	// Inode is the number of the executed file, and Links how many names it has: with
	// none it is in memory only, or deleted.
	Inode uint64
	Links uint32
	// Binary is the path of the executed file in the mount namespace of the
	// process, not its root; empty when Flags say that it was too long.
	Binary string
	// Args are argv with argv[0]. When Flags say that they were cut, the last one
	// is.
	Args []string
	// Cwd is the working directory, like Binary.
	Cwd string
	// Env is the environment, like Args; nil unless the programs were asked for it.
	Env []string
	// ArgsSize and EnvSize are how many bytes Args and Env have in the process, each
	// string with its NUL, with those that are not in the event.
	ArgsSize, EnvSize uint32
	// Data names the events of the same task that have the rest of Args and Env, and
	// come before it; 0: none.
	Data uint64
}

// Exit tells that the last thread of a process has exited. Two threads that end
// at once can both report it.
type Exit struct {
	Header
	// Code is what wait4 gives: signal in the low seven bits, 1<<7 if there was a core
	// dump, status above.
	Code uint32
}

// Site tells that rules of a site matched.
type Site struct {
	Header
	// Site is the kernel's number of the site; Version is that of the rule set by
	// which it was judged.
	Site, Version uint32
	// Regs are the words that the site reads.
	Regs [bpf.WireLimitsREADS_MAX]uint64
	// Unreadable are those of Regs to which a pointer was to lead that leads nowhere:
	// bit i is of Regs[i].
	Unreadable uint32
	// Strings are what takes a buffer of what the site reads, in the order of Regs:
	// text, or the bytes of a structure. Those that the site does not read are
	// empty.
	Strings [bpf.WireLimitsSTRINGS_MAX]String
	// AtExit tells that the strings were read when the call returned.
	AtExit bool
	// Data names the events of the same task that have the rest of its bytes, and
	// come before it; 0: none.
	Data uint64
	// Returned tells that the call has returned, and that the words and strings of what
	// it returned are there too.
	Returned bool
	// Posted are the rules that ask for an event, Signalled those whose signal
	// was sent, Overridden those whose error was returned, Notified those that left
	// something for enforcers.
	Posted, Signalled, Overridden, Notified RuleBits
	// ReturnSignalled are the rules whose signal was sent when the call returned.
	ReturnSignalled RuleBits
	// Silent are those of Posted that only the agent is told of.
	Silent RuleBits
	// KernelStack and UserStack are the return addresses of the kernel's stack and
	// of the process's, innermost first, at most 127: nil when no rule asks for them
	// or there are none.
	KernelStack, UserStack []uint64
	// FileHash is the hash of the file that the hook is about.
	FileHash FileHash
}

// Clone is a copy that shares nothing with s that changes.
func (s *Site) Clone() *Site {
	c := *s
	c.KernelStack, c.UserStack = slices.Clone(s.KernelStack), slices.Clone(s.UserStack)
	return &c
}

// FileHash is the hash of a file as the kernel has computed it.
type FileHash struct {
	// Algorithm is the kernel's enum hash_algo, plus one; 0: there is no hash.
	Algorithm uint32
	// Bytes begin with the hash.
	Bytes [bpf.WireLimitsFILE_HASH_MAX]byte
}

// Data is bytes of an argument that its event has no room for.
type Data struct {
	Header
	// ID is that of the event's Data.
	ID uint64
	// String is the index of the event's string that they continue, of an exec a
	// [bpf.WireExecText], and Offset where.
	String, Offset int
	Bytes          string
}

// StringStatus tells whether a string could be read.
type StringStatus uint8

// What became of a string.
const (
	// StringRead: the string is whole.
	StringRead StringStatus = iota
	// StringUnreadable: its memory could not be read.
	StringUnreadable
	// StringTruncated: it is longer than 4095 bytes; none of it was kept.
	StringTruncated
)

// String is a string argument.
type String struct {
	// Status tells whether there is a value.
	Status StringStatus
	// Value is empty unless Status is StringRead. It is what the memory held: of
	// text any bytes but NUL.
	Value string
	// Mode is that of the inode where the string is a file's path. Of bytes it is how
	// many there were, or 1<<32-1 for more than that, though none are kept after the
	// first 4095; of a unix socket's address the family.
	Mode uint32
}

// RuleBits is a set of rules of one site.
type RuleBits [bpf.WireLimitsRULE_WORDS]uint64

// Has tells whether the rule with the given number is in the set.
func (b *RuleBits) Has(rule int) bool {
	return rule >= 0 && rule/64 < len(b) && b[rule/64]&(1<<(rule%64)) != 0
}

// All are the numbers of the rules in the set, ascending.
func (b *RuleBits) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, word := range b {
			for ; word != 0; word &= word - 1 {
				if !yield(i*64 + bits.TrailingZeros64(word)) {
					return
				}
			}
		}
	}
}

// TaskUnsealed tells that a task of a container could not be sealed: without
// its seal it could leave the container's policies by leaving its cgroup.
type TaskUnsealed struct{ Header }

// Armed tells that a container's entrypoint has been executed.
type Armed struct{ Header }
