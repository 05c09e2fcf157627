// SPDX-License-Identifier: Apache-2.0

// Package install registers boltseal with the container runtimes of a host, and
// takes it back.
//
// A runtime drafts what its files should be like; nothing is written by it. What
// differs from the files is shown, noted in a manifest with all that is needed to
// take it back, and only then written, each file at once by a rename. Whatever
// ends the program in between leaves every file old or new, and the manifest
// knows both. An error puts back what was written.
//
// Files that the user changed afterwards are not put back whole: only the keys
// that were written are taken out of them.
package install
