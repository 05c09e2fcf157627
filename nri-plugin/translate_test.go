// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/hook/bundle"
)

// whole is a container of which the runtime tells everything.
func whole() (*api.PodSandbox, *api.Container) {
	return &api.PodSandbox{
			Id: "p1", Name: "web", Uid: "u1", Namespace: "shop", Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"a": "pod"},
		}, &api.Container{
			Id: "c1", PodSandboxId: "p1", Name: "server", Pid: 42, Image: &api.Image{Name: "example/server:1"},
			Labels: map[string]string{"tier": "front"}, Annotations: map[string]string{"a": "own"},
			Mounts: []*api.Mount{{Destination: "/data", Type: "bind", Source: "/srv", Options: []string{"ro"}}},
			Linux:  &api.LinuxContainer{CgroupsPath: "/kubepods/p1/c1"},
		}
}

func TestTranslate(t *testing.T) {
	t.Parallel()
	full := bundle.Request{
		CgroupsPath: "/kubepods/p1/c1", ID: "c1", Name: "server", Image: "example/server:1", InitPid: 42, Runtime: "containerd",
		Labels: map[string]string{"tier": "front"}, Annotations: map[string]string{"a": "own"},
		PodName: "web", PodUID: "u1", PodNamespace: "shop",
		PodLabels: map[string]string{"app": "web"}, PodAnnotations: map[string]string{"a": "pod"},
		Mounts: []bundle.Mount{{Destination: "/data", Type: "bind", Source: "/srv", Options: []string{"ro"}}},
	}
	for _, test := range []struct {
		name   string
		change func(*api.PodSandbox, *api.Container)
		want   func(*bundle.Request)
		fault  string
	}{
		{"everything", func(*api.PodSandbox, *api.Container) {}, func(*bundle.Request) {}, ""},
		{"not started", func(_ *api.PodSandbox, c *api.Container) { c.Pid = 0 }, func(r *bundle.Request) { r.InitPid = 0 }, ""},
		{
			"the image of containerd's annotation",
			func(_ *api.PodSandbox, c *api.Container) {
				c.Image, c.Annotations = nil, map[string]string{containerdImage: "example/old:1"}
			},
			func(r *bundle.Request) {
				r.Image, r.Annotations = "example/old:1", map[string]string{containerdImage: "example/old:1"}
			}, "",
		},
		{
			"the image of CRI-O's annotation",
			func(_ *api.PodSandbox, c *api.Container) {
				c.Image, c.Annotations = nil, map[string]string{crioImage: "example/old:1"}
			},
			func(r *bundle.Request) {
				r.Image, r.Annotations = "example/old:1", map[string]string{crioImage: "example/old:1"}
			}, "",
		},
		{"systemd's form", func(_ *api.PodSandbox, c *api.Container) { c.Linux.CgroupsPath = "a.slice:cri:c1" }, func(r *bundle.Request) { r.CgroupsPath = "a.slice:cri:c1" }, ""},
		{"a pid and no path", func(_ *api.PodSandbox, c *api.Container) { c.Linux = nil }, func(r *bundle.Request) { r.CgroupsPath = "" }, ""},
		{
			"a filter of system calls", func(_ *api.PodSandbox, c *api.Container) { c.Linux.SeccompPolicy = &api.LinuxSeccomp{} },
			func(r *bundle.Request) { r.Privileged = new(bool) }, "",
		},
		{"no id", func(_ *api.PodSandbox, c *api.Container) { c.Id = "" }, nil, "id of 0 bytes"},
		{"a long id", func(_ *api.PodSandbox, c *api.Container) { c.Id = strings.Repeat("x", bundle.MaxID+1) }, nil, "id of 256 bytes"},
		{"nothing to find it by", func(_ *api.PodSandbox, c *api.Container) { c.Pid, c.Linux = 0, nil }, nil, "neither a cgroup path nor a pid"},
		{"a long path", func(_ *api.PodSandbox, c *api.Container) { c.Linux.CgroupsPath = strings.Repeat("/x", bundle.MaxPath) }, nil, "cgroup path of"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			pod, c := whole()
			test.change(pod, c)
			got, err := translate("containerd", pod, c)
			if test.fault != "" {
				if !errors.Is(err, errRequest) || !strings.Contains(err.Error(), test.fault) {
					t.Errorf("error is %v, want %q", err, test.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := full
			test.want(&want)
			if diff := cmp.Diff(&want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTranslateWithoutAPod(t *testing.T) {
	t.Parallel()
	_, c := whole()
	if got, err := translate("", nil, c); err != nil || got.PodName != "" || got.ID != "c1" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestTranslateSandbox(t *testing.T) {
	t.Parallel()
	pod, _ := whole()
	if _, err := translateSandbox("containerd", pod); !errors.Is(err, errRequest) {
		t.Errorf("nothing to find it by: %v", err)
	}
	pod.Linux, pod.Pid = &api.LinuxPodSandbox{CgroupsPath: "/kubepods/p1/pause"}, 7
	pod.Annotations[containerdPause] = "example/pause:1"
	got, err := translateSandbox("containerd", pod)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&bundle.Request{
		CgroupsPath: "/kubepods/p1/pause", ID: "p1", Image: "example/pause:1", InitPid: 7, Runtime: "containerd", Sandbox: true,
		PodName: "web", PodUID: "u1", PodNamespace: "shop", PodLabels: pod.Labels, PodAnnotations: pod.Annotations,
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzTranslate takes whatever a runtime can send: it is refused, or the agent
// can read what comes out of it.
func FuzzTranslate(f *testing.F) {
	pod, c := whole()
	for _, m := range []proto.Message{&api.CreateContainerRequest{Pod: pod, Container: c}, &api.CreateContainerRequest{}} {
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var request api.CreateContainerRequest
		if proto.Unmarshal(raw, &request) != nil {
			return
		}
		r, err := translate("containerd", request.GetPod(), request.GetContainer())
		checkTranslated(t, r, err)
		r, err = translateSandbox("containerd", request.GetPod())
		checkTranslated(t, r, err)
	})
}

// checkTranslated wants a refusal, or what the agent can read.
func checkTranslated(t *testing.T, r *bundle.Request, err error) {
	t.Helper()
	if err != nil {
		if !errors.Is(err, errRequest) {
			t.Errorf("error is %v", err)
		}
		return
	}
	encoded, err := r.Marshal()
	if err != nil {
		return // larger than may be sent
	}
	var decoded tetragon.RuntimeHookRequest
	if err := proto.Unmarshal(encoded, &decoded); err != nil {
		t.Fatal(err)
	}
	if got := decoded.GetCreateContainer(); got.GetContainerID() != r.ID || got.GetCgroupsPath() != r.CgroupsPath {
		t.Errorf("%v of %v", got, r)
	}
}
