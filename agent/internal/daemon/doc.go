// SPDX-License-Identifier: Apache-2.0

// Package daemon builds the agent from its parts, and starts and stops them in
// order. It is where packages meet that do not know each other.
package daemon
