// SPDX-License-Identifier: Apache-2.0

// Package script is the language between the tests of package truth and their
// performer: a [Script] says what a tree of processes does, and a [Journal], which
// all of them share as memory, what each of them did. What is in the journal
// outlives whoever wrote it, so that a process can be killed at any time.
package script
