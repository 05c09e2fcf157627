// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// TestFaultyFilesAreListed: with what is left of them, or as what could not be loaded.
func TestFaultyFilesAreListed(t *testing.T) {
	t.Parallel()
	listed := []*tetragon.TracingPolicyStatus{
		{Name: "p", Namespace: "n", Info: "file /d/p.yaml"}, {Name: "q"}, {Name: "r", Info: "file /d/r.yaml"},
	}
	const failed = tetragon.TracingPolicyState_TP_STATE_LOAD_ERROR
	want := []*tetragon.TracingPolicyStatus{
		{Name: "p", Namespace: "n", Info: "file /d/p.yaml", Error: "file /d/p.yaml: line 1: a\nline 2: b"},
		{Name: "q"}, {Name: "r", Info: "file /d/r.yaml"},
		{Name: "q", Domain: "grpc", Info: "file /d/q.yaml", State: failed, Error: "file /d/q.yaml: taken"},
		{Name: "s\uFFFD.yaml", Domain: "grpc", Info: "file /d/s\uFFFD.yaml", State: failed, Error: "file /d/s\uFFFD.yaml: not YAML"},
		{Name: "u", Namespace: "n", Domain: "grpc", Info: "file /d/u.yaml", State: failed, Error: "file /d/u.yaml: no room"},
	}
	got := addFaults(listed, []PolicyFault{
		{File: "/d/p.yaml", Key: "n/p", Err: errors.New("line 1: a\nline 2: b")},
		{File: "/d/q.yaml", Key: "q", Err: errors.New("taken")},
		{File: "/d/s\xff.yaml", Err: errors.New("not YAML")},
		{File: "/d/u.yaml", Key: "n/u", Err: errors.New("no room")},
	})
	if len(got) != len(want) {
		t.Fatalf("listed %d, want %d: %v", len(got), len(want), got)
	}
	for i := range got {
		if !proto.Equal(got[i], want[i]) {
			t.Errorf("listed %v, want %v", got[i], want[i])
		}
	}
}
