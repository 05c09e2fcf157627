// SPDX-License-Identifier: Apache-2.0

// Command performer does what a script says: it is every process of a tree of
// processes, and writes what it does into a journal that all of them share. Package
// script has both.
//
// A forked process has no Go runtime: between a fork and the next exec it makes
// system calls only. The code that both can run is nosplit and does not allocate;
// all that it needs is laid out when the program starts.
//
// Status 250 says that the performer could not begin.
package main
