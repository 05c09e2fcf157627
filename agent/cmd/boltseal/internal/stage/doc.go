// SPDX-License-Identifier: Apache-2.0

// Package stage is where things are tried on real containers: an agent of its own,
// and containers that runc makes through boltseal-hook and that are thrown away.
//
// Everything it makes is written down before it is made, and removed in
// reverse by [Stage.Close], also when the context ends in the middle: processes,
// containers, cgroups in all hierarchies, and files. A signal must therefore end
// the context, and not the process.
package stage
