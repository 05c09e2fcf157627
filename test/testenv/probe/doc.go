// SPDX-License-Identifier: Apache-2.0

// Package probe finds out what the tests can use on this machine, by using it:
// each function returns nil or the reason why not. It is apart from testenv so
// that programs that are no tests can ask too.
package probe
