// SPDX-License-Identifier: Apache-2.0

package script

import "unsafe"

// Bounds of one script.
const (
	MaxNodes   = 256
	MaxRecords = 4096
)

// Entry is the kind of a record.
type Entry uint16

// The kinds of records. What is about to be done is written before, and what became
// of it after: who finds the first alone knows that the writer was killed between.
const (
	// Forking and Forked are of the parent: Value is the child's pid as the parent
	// knows it, or an errno with a minus.
	Forking Entry = 1 + iota
	Forked
	// Begun is a child's first.
	Begun
	// Executing is of the old image, Executed of the new one, Failed of the old one
	// with the errno in Value. Of a spawned child Executing is its parent's.
	Executing
	Executed
	Failed
	// Ending has the signal in the low seven bits of Value, the status above bit 7.
	Ending
	// Killing is about to send the signal Value.
	Killing
	// Reaped has the pid in Other and what wait4 told in Value.
	Reaped
	// Broken: an operation failed that must not, with the errno in Value.
	Broken
)

// Record is one line of the journal. Pids are those of the host.
type Record struct {
	// Whole is set when the rest is written.
	Whole uint32
	Entry Entry
	// Node is who writes. Op is the number of the operation, or of the exec in Executed.
	Node        uint16
	Op          uint32
	Pid, Tid    uint32
	Parent, UID uint32
	// Inner is the pid in the process's own namespace.
	Inner uint32
	Other uint32
	Value int64
	// Start is that of the process, in hundredths of a second since boot; Time is now,
	// in ns since boot.
	Start, Time uint64
}

// Journal is memory that all processes of a script share.
type Journal struct {
	// Next is the number of records, also of those that found no room.
	Next uint32
	// Pids are the processes as their parents know them, States how far they are.
	Pids, States [MaxNodes]uint32
	Records      [MaxRecords]Record
}

// JournalSize is how long the file of a journal is.
const JournalSize = int(unsafe.Sizeof(Journal{}))
