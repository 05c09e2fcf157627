// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"fmt"
	"strconv"
	"strings"
)

// Code is a gRPC status code. Its numbers are fixed by the gRPC protocol.
type Code uint32

// The codes that the package names itself.
const (
	OK                 Code = 0
	Unknown            Code = 2
	InvalidArgument    Code = 3
	NotFound           Code = 5
	AlreadyExists      Code = 6
	PermissionDenied   Code = 7
	ResourceExhausted  Code = 8
	FailedPrecondition Code = 9
	OutOfRange         Code = 11
	Internal           Code = 13
	Unavailable        Code = 14
	Unauthenticated    Code = 16
)

// String returns the code's name as gRPC spells it, "Code(N)" for one that gRPC
// does not have.
func (c Code) String() string {
	names := [...]string{
		"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
		"PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange",
		"Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
	}
	if int(c) < len(names) {
		return names[c]
	}
	return "Code(" + strconv.FormatUint(uint64(c), 10) + ")"
}

// refusal tells whether the code is a judgement about the request, which no
// policy overrides, and not the agent's own trouble.
func (c Code) refusal() bool {
	switch c {
	case InvalidArgument, NotFound, AlreadyExists, PermissionDenied, FailedPrecondition, OutOfRange, Unauthenticated:
		return true
	}
	return false
}

// StatusError is an answer of the agent other than OK.
type StatusError struct {
	Code Code
	// Message is the agent's text, at most maxMessage bytes of valid UTF-8.
	Message string
}

// Error quotes the message: it may hold names that a container chose.
func (e *StatusError) Error() string {
	return fmt.Sprintf("agent answered %s: %q", e.Code, e.Message)
}

// maxMessage bounds the agent's text in bytes: runtimes put it into their own
// errors, which people read on one screen.
const maxMessage = 1024

// decodeMessage undoes the percent-encoding of grpc-message. Broken escapes stay
// as they are, as the protocol asks.
func decodeMessage(s string) string {
	var out strings.Builder
	for i := 0; i < len(s) && out.Len() < maxMessage; i++ {
		if s[i] == '%' && i+2 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				out.WriteByte(byte(v))
				i += 2
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return strings.ToValidUTF8(out.String(), "\uFFFD")
}
