// SPDX-License-Identifier: Apache-2.0

// Package remote does what policies ask the agent to do to other hosts: get a URL,
// look a name up. Both are signals to somebody who watches the other end, as with
// canary tokens; what is answered is thrown away.
//
// The asking is in the hands of whoever sets an event off, so all of it is bounded:
// requests that wait and that are under way, the time and the answer of each, and
// the rate of each policy. What finds no room is dropped and counted. A policy that
// is not enforced when a request's turn comes makes none.
//
// No request reaches an address that [policy.AddressFault] refuses. That is decided
// where a connection is made, for the address that it is made to: a name that leads
// elsewhere the second time it is looked up gains nothing, nor does a redirection.
// Proxies of the environment are not used, as they would connect in the agent's
// place. Names are looked up by the host's own resolvers, wherever these are.
package remote
