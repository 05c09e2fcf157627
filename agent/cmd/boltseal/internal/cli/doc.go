// SPDX-License-Identifier: Apache-2.0

// Package cli is the commands of boltseal: each parses its flags, calls the
// agent over gRPC and writes a table for people or JSON for scripts. Text that
// containers chose is quoted before it reaches a terminal.
//
// Errors say what to do next, and end in one of the exit codes below.
package cli
