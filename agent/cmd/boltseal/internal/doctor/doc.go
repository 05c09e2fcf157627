// SPDX-License-Identifier: Apache-2.0

// Package doctor finds out whether containers of this host are sealed and policies
// enforced in them: it looks at kernel, agent, sockets, hook and runtimes, and proves
// each runtime with canaries, containers that are sealed, killed and denied on purpose.
//
// Every [Check] has a verdict. Nothing is [OK] that was not seen: what this host
// cannot show is [NotProven], with the reason. [Run] removes all that it makes, also when
// the context ends in the middle.
package doctor
