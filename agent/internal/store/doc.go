// SPDX-License-Identifier: Apache-2.0

// Package store writes down which containers an agent knows, so that the next one
// knows them too: what a hook told of a container it tells once, and the names of
// cgroups say little or nothing of it.
//
// The directory is to be on a tmpfs and closed to all but root. It has one file for
// each container, which is replaced as a whole; what an agent was writing as it died
// is left out and removed.
package store
