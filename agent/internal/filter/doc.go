// SPDX-License-Identifier: Apache-2.0

// Package filter decides which events a subscriber gets, and what of them. It is
// pure.
//
// A request has two lists of filter objects. An event passes when some object of
// the allow list holds, or there is none, and no object of the deny list does. An
// object holds when all of its fields do, so that one without fields always
// holds; a field holds when one of its values does. Expressions are RE2 and match
// anywhere unless they are anchored.
//
// Filters are compiled once per subscriber. A field that is set but not
// known is an error that names it, for a filter that is ignored shows what it
// should hide.
//
// Fields about a process hold for no event that is about none, fields about a
// parent for none whose parent is not known, and labels for none outside of pods.
//
// Its packages: subject tells what an event is about, condition has expressions in
// CEL, field decides which fields of an event a subscriber gets, and redact hides
// parts of arguments and environments from all of them.
package filter
