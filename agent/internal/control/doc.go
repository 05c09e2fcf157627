// SPDX-License-Identifier: Apache-2.0

// Package control brings policies and containers together: it decides which
// policies are in force for which slot, and takes containers in. One lock
// orders all changes, so that a container that comes while a policy is added
// gets it, whichever is first.
//
// Of a policy with matchWorkloads in selectors a subject also has the set of the
// workloads that it is of: which of the policy's rules are in force for it.
//
// A subject is a slot and the policies that are for it: a container's, the
// host's, or the default set of all slots that nobody holds, which a container
// that nobody announced is born with.
package control
