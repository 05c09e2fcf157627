// SPDX-License-Identifier: Apache-2.0

// Package process remembers which processes there are and what they execute,
// from the forks, execs and exits that the kernel reports and from /proc for
// those that ran before.
//
// A [Process] is one process between two execs: an immutable value with an exec
// id of its own. A fork makes a new one that is a copy of its maker's with the
// flag clone, which after clone(CLONE_PARENT) is not its parent; an exec replaces the value of the same process; an exit ends it.
//
// The exec id is the base64 form of "node:time:pid", where time is that of the
// exec, in ns since boot, or that of the start for a process that has only been
// forked. The parent's exec id is that of the real parent, as it was at the time
// of the fork or exec; it does not follow when the parent executes another file
// later or when the process is adopted by another parent.
//
// A value can be looked up while the process runs, for a grace period after its
// end, and for as long as a process that names it as its parent runs; where
// ancestors are kept, for as long as any that descends from it runs. All this ends
// when the [Cache] has no room: then what has ended longest ago goes first, and
// after that what the container that has most in it has not used for longest.
package process
