// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// hostileRequests are seeds: one for each thing that a request can be wrong in.
func hostileRequests() []*tetragon.CreateContainer {
	return []*tetragon.CreateContainer{
		{},
		{ContainerID: "id", CgroupsPath: "/id"},
		{ContainerID: "id", CgroupsPath: "/", InitPid: 1},
		{ContainerID: "../id", CgroupsPath: "../..", ContainerName: "n\x00"},
		{ContainerID: strings.Repeat("i", 600), CgroupsPath: strings.Repeat("/a", 3000)},
		{CgroupsPath: "a:b:c", Annotations: map[string]string{"": "", "k\n": "v\x1b[2J"}},
		{ContainerID: "id", PodName: "p", PodUID: "u", PodLabels: map[string]string{"l": "v"}, Late: true},
		{ContainerID: "id", PodNamespace: "only", Labels: map[string]string{"a": "b"}, InitPid: 1<<32 - 1},
		{ContainerID: "id", ContainerImage: "a@b:c/d:e@f", Bundle: "/../..", RootDir: "\x7f"},
	}
}

// FuzzAdmission feeds the translation with bytes as they come from a client: what
// is a message is translated whole or refused as the client's fault.
func FuzzAdmission(f *testing.F) {
	for _, r := range hostileRequests() {
		raw, err := proto.Marshal(&tetragon.RuntimeHookRequest{Event: &tetragon.RuntimeHookRequest_CreateContainer{CreateContainer: r}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(raw[:len(raw)/2])
	}
	f.Add([]byte{})
	f.Add([]byte("\x0a\x03\x0a\x01\xff"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var request tetragon.RuntimeHookRequest
		if proto.Unmarshal(raw, &request) != nil {
			return // gRPC refuses it
		}
		a, err := Admission(&request)
		if err != nil {
			if !errors.Is(err, control.ErrInvalid) || status.Code(failure(err)) != codes.InvalidArgument || request.GetCreateContainer() != nil {
				t.Errorf("refused with %v", err)
			}
			return
		}
		got, want := a.Container, request.GetCreateContainer()
		if a.CgroupsPath != want.GetCgroupsPath() || got.ID != want.GetContainerID() || got.InitPID != want.GetInitPid() ||
			got.Late != want.GetLate() || !maps.Equal(got.Annotations, want.GetAnnotations()) || !maps.Equal(got.Labels, want.GetLabels()) {
			t.Errorf("%s became %+v", want, a)
		}
		if inPod := want.GetPodName() != "" || want.GetPodUID() != ""; (got.Pod != nil) != inPod {
			t.Errorf("%s became %+v with pod %+v", want, got, got.Pod)
		}
		// What a client must not be able to say: where the container is.
		if got.CgroupID != 0 || got.Slot != 0 || got.CgroupPath != "" || !got.Added.IsZero() || !got.Removed.IsZero() {
			t.Errorf("%s became %+v", want, got)
		}
	})
}
