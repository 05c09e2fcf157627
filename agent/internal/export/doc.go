// SPDX-License-Identifier: Apache-2.0

// Package export hands events to those who subscribed to them.
//
// A [Hub] never waits for a subscriber: each has a bounded queue of its own, and
// what finds it full is lost for that subscriber alone. It is told so by a
// rate_limit_info event, at the place in its stream where the events are missing
// and with their exact number. A subscriber's view runs where it reads, not where
// events are made, so that an expensive one slows down nobody else. While there is
// no subscriber nothing needs to be made at all: see [Hub.Active].
//
// What a subscriber reads went, in this order, through its queue, its [View], its
// [Aggregation] and its limit per minute. What tells of missing events goes past
// the view and the limit.
package export
