// SPDX-License-Identifier: Apache-2.0

// Package demo shows the main job on real containers: an agent of its own seals
// two containers that runc starts, a policy for one of them kills a forbidden
// act there, and the same act in the other one and on the host goes through.
//
// What it says comes from the kernel: times that programs at the kernel's own
// events noted, events of the agent, and how the containers' processes ended.
// [Run] judges it all, and is an error unless everything holds.
package demo
