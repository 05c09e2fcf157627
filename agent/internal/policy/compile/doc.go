// SPDX-License-Identifier: Apache-2.0

// Package compile turns policies into what the kernel evaluates: for every
// hook the [Site] it belongs to, the words the site reads, and its rules, each
// a conjunction of filters by dimension. It is pure: it takes values and
// returns values.
//
// The word that a [Read] is about is in the context of the site's program, or where a
// [Chain] of pointers leads that begins there or at the current task. What is read at
// the word does not depend on how it was found.
//
// A rule is one selector of one hook of one policy. At its site it is a bit.
// For each dimension (an argument, the binary) and each [Kind] of comparison
// that some rule uses, the site looks the value up once and gets the answer of
// all rules together: the bits of a miss, with those inverted that the value's
// class names. What is computed from arguments (substrings of a text, expressions, the
// type of a file, capabilities gained) is a read of its own, see [Computed]; the
// substrings of a dimension are found together, by an automaton. [Table] is the model of these maps for one site; package engine
// copies its changes to the kernel in an order in which an evaluation never
// sees half of one.
//
// [Rule.Matches] is the same language evaluated plainly. Tests hold the two
// against each other, through the kernel's own programs.
package compile
