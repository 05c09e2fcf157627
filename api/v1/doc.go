// SPDX-License-Identifier: Apache-2.0

// Package api holds the wire contracts: the .proto files and what is generated
// from them.
package api

//go:generate sh generate.sh
