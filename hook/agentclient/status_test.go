// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

func TestDecodeMessage(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                        "",
		"plain":                   "plain",
		"a%20b%C3%BC":             "a bü",
		"100%":                    "100%",
		"%2":                      "%2",
		"%zz%41":                  "%zzA",
		"%ff":                     "\uFFFD",
		"%0A":                     "\n",
		strings.Repeat("x", 5000): strings.Repeat("x", maxMessage),
	} {
		if got := decodeMessage(in); got != want {
			t.Errorf("%.20q decodes to %.20q, want %.20q", in, got, want)
		}
	}
}

// TestCodes compares the numbers and names with those of grpc-go, which only
// tests may link.
func TestCodes(t *testing.T) {
	t.Parallel()
	for code := Code(0); code < 20; code++ {
		if got, want := code.String(), codes.Code(code).String(); got != want {
			t.Errorf("code %d is %q, gRPC says %q", uint32(code), got, want)
		}
	}
	for ours, theirs := range map[Code]codes.Code{
		OK: codes.OK, Unknown: codes.Unknown, InvalidArgument: codes.InvalidArgument, NotFound: codes.NotFound,
		AlreadyExists: codes.AlreadyExists, PermissionDenied: codes.PermissionDenied,
		ResourceExhausted: codes.ResourceExhausted, FailedPrecondition: codes.FailedPrecondition,
		OutOfRange: codes.OutOfRange, Internal: codes.Internal, Unavailable: codes.Unavailable,
		Unauthenticated: codes.Unauthenticated,
	} {
		if uint32(ours) != uint32(theirs) {
			t.Errorf("%s is %d, gRPC says %d", ours, uint32(ours), uint32(theirs))
		}
	}
}
