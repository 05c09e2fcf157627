// SPDX-License-Identifier: Apache-2.0

// Package simulate tells what policies would have done to events that were
// recorded, by the plain evaluator of package compile. It is pure.
//
// An event holds what the policy that recorded it had asked for, and no more.
// Values that it does not hold are unknown, and so is what depends on them:
// nothing is guessed. Which argument of a hook a value in an event is follows from
// the policy that recorded it, which has to be known for that.
package simulate
