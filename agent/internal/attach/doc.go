// SPDX-License-Identifier: Apache-2.0

// Package attach is the running kernel as policies see it: which hooks there are,
// what is to be found at them, what can be done there, and how programs get to
// them. It is what package compile asks and package engine attaches with.
package attach
