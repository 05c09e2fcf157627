// SPDX-License-Identifier: Apache-2.0

// Package export hands events to those who subscribed to them.
//
// A [Hub] never waits for a subscriber: each has a bounded queue of its own, and
// what finds it full is lost for that subscriber alone and counted. A
// subscriber's filter runs where it reads, not where events are made, so that an
// expensive one slows down nobody else. While there is no subscriber nothing
// needs to be made at all: see [Hub.Active].
package export
