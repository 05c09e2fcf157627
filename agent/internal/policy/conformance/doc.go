// SPDX-License-Identifier: Apache-2.0

// Package conformance is the language of policies as tables: the types of arguments
// with the operators that compare them and the field of events that they come to, the
// selectors, the actions, and the keys of hooks. Tests make policies of every cell, one
// that an event satisfies and one that it does not, and hold the parser, the plain
// evaluation and the programs of the kernel against them. A test of this package holds
// that the tables have all that the parser knows.
package conformance
