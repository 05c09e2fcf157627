// SPDX-License-Identifier: Apache-2.0

// Package wrapper is what boltseal-hook does in the place of a low-level container
// runtime (runc, crun): it reads the runtime's command line, adds the createRuntime
// hook to the bundle that a container is about to be made from, and finds the
// runtime that is to be executed with the very same command line.
//
// [Parse], [AddHook] and [ParseProcess] are pure. What they are given is hostile: a
// bundle may have been made by hand, so a config.json whose hooks two JSON decoders
// could read differently is refused.
//
// # Command lines
//
// Engines put global flags, the command, its flags and the container's id in this
// order, and so does Parse read them. runc (Go's flag package) and crun (getopt)
// spell flags differently; both spellings are understood, and so are flags of create,
// run and restore behind the id, which some versions of runc take. A global flag that
// is neither known nor has its value behind a "=" makes the command line one that is
// not understood: whether its value or the command comes next cannot be told.
package wrapper
