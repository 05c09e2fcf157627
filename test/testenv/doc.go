// SPDX-License-Identifier: Apache-2.0

// Package testenv gives tests the real parts of a machine: throw-away cgroups,
// runc containers, the project's own binaries, a running agent. Only tests use
// it. Every helper takes the test first, ends it when something cannot be done,
// and undoes its work when the test ends.
//
// A package that uses it calls [Main] from its TestMain:
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
// Main opens a session: a directory, and a name that everything made by this
// test process carries (cgroups, container ids, an environment variable). A
// keeper, a second process, waits for the end of the test process and then
// removes what carries the name. So nothing stays behind after Ctrl-C, a
// timeout or a crash either.
//
// [Require] says what a test needs of the machine. Where that is missing the
// test is skipped with the reason, but with BOLTSEAL_TEST_STRICT=1, which make
// test sets on machines that are able, it fails: skips must be earned.
//
// Helpers may be used by parallel tests; [LeakCheck] may not.
package testenv
