// SPDX-License-Identifier: Apache-2.0

// Command actor does forbidden acts inside test containers and says, in words
// that a test can search for, what became of each.
//
// It is static, small and its own entrypoint, so that it needs nothing of the
// image. Acts are raw system calls: no library call stands between the marker
// that announces an act and the act. Each marker is one line on standard output,
// written by one write(2):
//
//	READY:<act>             everything up to the act worked; the act comes next
//	LEAK:<act>              the act succeeded: the forbidden file was opened
//	DENIED:<act>:<errno>    the act failed with an error
//	KILLED:<act>:<signal>   the child that did the act was killed by a signal
//	FAILED:<act>:<reason>   the act could not be prepared; it was not tried
//	RESULT:<act>:<word>     what became of an act that was only tried: OK, an
//	                        error or a signal
//
// A test that wants proof of enforcement asks for READY and the absence of LEAK:
// READY alone shows that an escape really reached the point of its act. Where
// the actor itself is killed nothing follows READY; its parent sees the signal.
//
// Exit status: 0 the act succeeded, 1 it was denied, 2 bad usage, 3 it could not
// be prepared, 4 a child that did it was killed.
package main
