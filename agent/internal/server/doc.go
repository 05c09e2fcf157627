// SPDX-License-Identifier: Apache-2.0

// Package server is the gRPC API: it identifies the caller, translates and
// calls. It holds no logic.
//
// The socket is root's alone, and a caller of another user is refused even when
// somebody opened it up.
package server
