// SPDX-License-Identifier: Apache-2.0

// Package canary starts throw-away containers through the runtimes of a host, each
// the way that its users start containers. What is in them is built in: one
// program of a few instructions, so that no image and no network is needed.
//
// The program waits until it is released, opens one file, and ends with the error
// number of that as its exit status, or 0. So a caller can look at the container
// while its entrypoint runs, and sees by the exit status what became of its act.
//
// [Scene.Run] removes the container before it returns, and [Scene.Close] the rest,
// also when the context ends in the middle: a signal must therefore end the context,
// and not the process.
package canary
