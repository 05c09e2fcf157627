// SPDX-License-Identifier: Apache-2.0

// Package policydir keeps the policies of a directory in force: what is in its
// files now, and not only what was in them when the agent started.
//
// The directory is looked at when the kernel tells of a change in it, and once a
// second in any case: what a file links to, a directory that is itself a link and
// is turned to another one, and file systems that tell of nothing are seen by that
// look alone. A look compares the files' identities, sizes and times, not their
// contents. What differs is read when two looks in a row saw the same, so that a
// file is not read, nor a rename taken for a removal, in the middle of the change.
//
// Files are those whose names end in .yaml or .yml and do not begin with a dot, as
// the temporary files of editors do; links count as what they lead to. Each holds
// one policy. A file that is new or has changed puts its policy in force in one
// step; one that is gone takes it out. A file that is faulty leaves the policy that
// it had as it was, and so does a directory that cannot be read, is gone, or holds
// more than is allowed: nobody takes a policy out of force by breaking its file.
//
// Of files with policies of one name the first to have it has it, and of new ones
// the first in alphabetical order; the others are faulty. So is a file whose policy
// has the name of one that is not a file's.
package policydir
