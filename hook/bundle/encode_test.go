// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// generated is the request as the generated package knows it.
func generated(r *Request) *tetragon.RuntimeHookRequest {
	c := &tetragon.CreateContainer{
		CgroupsPath: r.CgroupsPath, RootDir: r.RootDir, Annotations: r.Annotations, ContainerName: r.Name,
		ContainerID: r.ID, PodName: r.PodName, PodUID: r.PodUID, PodNamespace: r.PodNamespace,
		ContainerImage: r.Image, Labels: r.Labels, PodLabels: r.PodLabels, InitPid: r.InitPid,
		Runtime: r.Runtime, Bundle: r.Bundle, PodAnnotations: r.PodAnnotations, OciVersion: r.Version, Late: r.Late, Privileged: r.Privileged, Sandbox: r.Sandbox,
	}
	for _, m := range r.Mounts {
		c.Mounts = append(c.Mounts, &tetragon.Mount{
			Destination: m.Destination, Type: m.Type, Source: m.Source, Options: m.Options,
		})
	}
	return &tetragon.RuntimeHookRequest{Event: &tetragon.RuntimeHookRequest_CreateContainer{CreateContainer: c}}
}

// checkEncoding compares an encoding with what the generated package makes.
func checkEncoding(t *testing.T, r *Request, raw []byte) {
	t.Helper()
	want, err := proto.MarshalOptions{Deterministic: true}.Marshal(generated(r))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, want) {
		t.Errorf("encoding of %+v\ngot  %x\nwant %x", r, raw, want)
	}
}

func TestMarshalEqualsGenerated(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	full := &Request{
		CgroupsPath: "/a/b", RootDir: "/b/rootfs", Annotations: map[string]string{"z": "1", "a": "", "": "x"}, Name: "name",
		ID: "abc", PodName: "pod", PodUID: "uid", PodNamespace: "ns", Image: "image:1",
		Mounts: []Mount{{"/proc", "proc", "proc", []string{"nosuid", "", "ro"}}, {}},
		Labels: map[string]string{"l": "v"}, PodLabels: map[string]string{"pl": "v", "ü": "ö"}, InitPid: 1<<31 - 1,
		Runtime: "containerd", Bundle: "/b", PodAnnotations: map[string]string{"pa": "v"}, Version: "1.2.1", Late: true,
		Privileged: &yes, Sandbox: true,
	}
	for name, r := range map[string]*Request{"full": full, "empty": {}, "one": {InitPid: 300}, "not privileged": {Privileged: &no}} {
		raw, err := r.Marshal()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkEncoding(t, r, raw)
	}

	// The other way round: nothing of the full request is lost, and no field of
	// the message is one that the hook does not know.
	raw, err := full.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got := new(tetragon.RuntimeHookRequest)
	if err := proto.Unmarshal(raw, got); err != nil {
		t.Fatal(err)
	}
	message := got.GetCreateContainer().ProtoReflect()
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		if !message.Has(fields.Get(i)) {
			t.Errorf("field %s is not set", fields.Get(i).Name())
		}
	}
	if !proto.Equal(got, generated(full)) {
		t.Errorf("got %v", got)
	}
}

func TestMarshalRemoval(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"", "abc", "a\xff"} {
		got := new(tetragon.RuntimeHookRequest)
		if err := proto.Unmarshal(MarshalRemoval(id), got); err != nil {
			t.Fatal(err)
		}
		if gone := got.GetRemoveContainer(); gone == nil || gone.GetContainerID() != valid(id) {
			t.Errorf("%q: got %v", id, got)
		}
	}
}

func TestMarshalReplacesWhatIsNotUTF8(t *testing.T) {
	t.Parallel()
	r := &Request{
		ID: "a\xff", InitPid: 7, Annotations: map[string]string{"k\xff": "v\xff"},
		Mounts: []Mount{{Source: "\xff", Options: []string{"\xff"}}},
	}
	raw, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got := new(tetragon.RuntimeHookRequest)
	if err := proto.Unmarshal(raw, got); err != nil {
		t.Fatal(err)
	}
	c := got.GetCreateContainer()
	if c.ContainerID != "a\uFFFD" || c.Annotations["k\uFFFD"] != "v\uFFFD" ||
		c.Mounts[0].Source != "\uFFFD" || c.Mounts[0].Options[0] != "\uFFFD" {
		t.Errorf("got %v", c)
	}
}
