// SPDX-License-Identifier: Apache-2.0

// Package engine owns the programs of sites and the maps that hold policies as
// data. A policy's rules become bits at their sites; a container's slot names a
// version, and a version names the bits in force at each site.
//
// Every change takes steps that no evaluation can see half of:
//
//  1. Load: rules take free bits, and their values, classes, range tables and
//     actions are written. No version has the bits, so no evaluation cares.
//  2. Apply: the versions that the new sets need are inserted, then each slot's
//     one word is stored. A container's rules change at all sites at once.
//  3. Apply, when something was withdrawn: it waits for a grace period. No
//     evaluation under way knows an old version any more, so that when it
//     returns nothing acts by it. Old versions are deleted.
//  4. Unload: the bits of rules that are in no version are cleared. Hash elements
//     are reused by the kernel at once, and a reader may hold one, so nothing is
//     inserted until another grace period has passed. Classes and range tables
//     that a change put out of use wait for one too.
//
// Live elements are never replaced: a value that changes its class is changed in
// place, one word, by a program that the agent runs.
package engine
