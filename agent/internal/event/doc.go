// SPDX-License-Identifier: Apache-2.0

// Package event turns records of the kernel's ring into typed values.
//
// [Decode] is pure: it takes the bytes of one record and returns a value that
// shares no memory with them, so that the ring may reuse them at once. The
// bytes are treated as hostile although only our own programs write them: all
// lengths are checked, and what is not exactly one well-formed record is an
// error.
//
// All times are nanoseconds of the boot time clock, which runs through suspend;
// all ids are those of the initial namespaces.
package event
