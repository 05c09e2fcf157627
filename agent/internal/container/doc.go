// SPDX-License-Identifier: Apache-2.0

// Package container knows which containers there are: immutable values, and a
// registry that finds them by id, by cgroup id and by kernel slot.
//
// A [Container] is never modified after it was handed to a [Registry]; a change
// is a new value put under the same id. Readers may therefore keep a *Container
// for as long as they like and read it without a lock.
//
// Records from the kernel arrive after the fact: the last event of a container
// is often read when its cgroup is already gone. A removed container therefore
// goes on answering by cgroup id and by slot, with its Removed time set, until
// [Registry.Forget] drops it.
package container
