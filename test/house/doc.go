// SPDX-License-Identifier: Apache-2.0

// Package house holds the tests of the house rules: who may import whom, what
// files look like. There is nothing in it to import.
package house
