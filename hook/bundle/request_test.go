// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

const shimTasks = "/run/containerd/io.containerd.runtime.v2.task/"

func TestParseStateRefuses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                    "nothing on standard input",
		" \n\t ":                              "nothing on standard input",
		`{`:                                   "unexpected end",
		`{"id":"`:                             "unexpected end",
		`null`:                                "id is missing",
		`[]`:                                  "cannot unmarshal array",
		`hello`:                               "invalid character",
		`{"id":"a","bundle":"/b","pid":1}{}`:  "after top-level value",
		`{"id":1,"bundle":"/b"}`:              "cannot unmarshal number",
		`{"bundle":"/b"}`:                     "id is missing",
		`{"id":"a"}`:                          "bundle is missing",
		`{"id":"a","bundle":"b"}`:             "not an absolute path",
		`{"id":"a/b","bundle":"/b"}`:          "slash or a NUL",
		`{"id":"a\u0000","bundle":"/b"}`:      "slash or a NUL",
		`{"id":"a","bundle":"/b\u0000"}`:      "NUL",
		`{"id":"a","bundle":"/b","pid":"7"}`:  "cannot unmarshal string",
		`{"id":"a","bundle":"/b","pid":1e99}`: "cannot unmarshal number",
		`{"id":"a","bundle":"/b","annotations":{"a":1}}`:                             "cannot unmarshal number",
		`{"id":"` + strings.Repeat("x", 256) + `","bundle":"/b"}`:                    "id has 256 bytes",
		`{"id":"a","bundle":"/` + strings.Repeat("x", MaxPath) + `"}`:                "bundle has 4097 bytes",
		`{"id":"a","bundle":"/b","x":"` + strings.Repeat("x", MaxState) + `"}`:       "larger than",
		`{"id":"a","bundle":"/b","annotations":` + strings.Repeat("[", 20_000) + `}`: "exceeded max depth",
	} {
		if _, err := ParseState([]byte(in)); !errors.Is(err, ErrState) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: error %v, want one about %q", in, err, want)
		}
	}
}

func TestParseStateOfRuntimes(t *testing.T) {
	t.Parallel()
	runc := `{"ociVersion":"1.2.0","id":"abc","status":"creating","pid":4711,"bundle":"/b","annotations":{"k":"v"}}`
	crun := `{"ociVersion":"1.0","id":"abc","pid":4711,"root":"/b/rootfs","bundle":"/b","status":"created","annotations":{"k":"v"}}` + "\n"
	for _, in := range []string{runc, crun} {
		s, err := ParseState([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		if s.ID != "abc" || s.Pid != 4711 || s.Bundle != "/b" || s.Annotations["k"] != "v" || s.Replaced {
			t.Errorf("%+v", s)
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                            "unexpected end",
		"{":                           "unexpected end",
		"null":                        "no linux section",
		"{}":                          "no linux section",
		`{"linux":null}`:              "no linux section",
		`{"windows":{}}`:              "no linux section",
		`{"linux":[]}`:                "cannot unmarshal array",
		`{"linux":{}} x`:              "after top-level value",
		`{"linux":{},"mounts":{}}`:    "cannot unmarshal object",
		`{"linux":{},"root":"/"}`:     "cannot unmarshal string",
		`{"linux":{"cgroupsPath":1}}`: "cannot unmarshal number",
		`{"linux":{},"annotations":{"a":null,"b":[]}}`:                     "cannot unmarshal array",
		`{"linux":{},"hostname":"` + strings.Repeat("x", MaxConfig) + `"}`: "larger than",
	} {
		if _, err := ParseConfig([]byte(in)); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: error %v, want one about %q", in, err, want)
		}
	}
}

func TestNewRequestRefuses(t *testing.T) {
	t.Parallel()
	good := State{ID: "a", Bundle: "/b", Pid: 7}
	for _, c := range []struct {
		change func(*State, *Config)
		want   string
	}{
		{func(s *State, _ *Config) { s.Pid = 0 }, "no init pid"},
		{func(s *State, _ *Config) { s.Pid = -1 }, "no init pid"},
		{func(s *State, _ *Config) { s.Pid = 1 << 31 }, "is no pid"},
		{func(_ *State, c *Config) { c.CgroupsPath = strings.Repeat("x", 4097) }, "linux.cgroupsPath"},
		{func(_ *State, c *Config) { c.CgroupsPath = "/a\x00" }, "linux.cgroupsPath"},
		{func(_ *State, c *Config) { c.Root = strings.Repeat("x", 4097) }, "root.path"},
	} {
		state, config := good, Config{}
		c.change(&state, &config)
		if _, err := NewRequest(state, config, Hints{}); !errors.Is(err, ErrRequest) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one about %q", err, c.want)
		}
	}
}

// identity is the part of a request that comes from annotations.
type identity struct {
	runtime, name, image, podName, podUID, podNamespace string
	labels, podLabels, podAnnotations                   map[string]string
}

func TestEngines(t *testing.T) {
	t.Parallel()
	containerd := map[string]string{
		"io.kubernetes.cri.container-type":    "container",
		"io.kubernetes.cri.container-name":    "app",
		"io.kubernetes.cri.image-name":        "docker.io/library/nginx:1",
		"io.kubernetes.cri.sandbox-id":        "sid",
		"io.kubernetes.cri.sandbox-name":      "web-0",
		"io.kubernetes.cri.sandbox-uid":       "uid-1",
		"io.kubernetes.cri.sandbox-namespace": "prod",
	}
	pause := map[string]string{
		"io.kubernetes.cri.container-type":        "sandbox",
		"io.kubernetes.cri.podsandbox.image-name": "registry.k8s.io/pause:3.8",
		"io.kubernetes.cri.sandbox-name":          "web-0",
		"io.kubernetes.cri.sandbox-namespace":     "prod",
		"io.kubernetes.cri.sandbox-uid":           "uid-1",
	}
	crio := map[string]string{
		"io.container.manager":              "cri-o",
		"io.kubernetes.container.name":      "app",
		"io.kubernetes.cri-o.ContainerType": "container",
		"io.kubernetes.cri-o.ContainerID":   "another",
		"io.kubernetes.cri-o.ImageName":     "quay.io/x/app:2",
		"io.kubernetes.pod.name":            "web-0",
		"io.kubernetes.pod.uid":             "uid-1",
		"io.kubernetes.pod.namespace":       "prod",
		"io.kubernetes.cri-o.Labels":        `{"app":"web"}`,
		"io.kubernetes.cri-o.Annotations":   `{"note":"n"}`,
	}
	crioPause := map[string]string{
		"io.container.manager":              "cri-o",
		"io.kubernetes.cri-o.ContainerType": "sandbox",
		"io.kubernetes.cri-o.ContainerName": "k8s_POD_web-0_prod_uid-1_0",
		"io.kubernetes.cri-o.KubeName":      "web-0",
		"io.kubernetes.cri-o.Namespace":     "prod",
		"io.kubernetes.cri-o.Image":         "pause",
		"io.kubernetes.cri-o.Labels":        `{"app":"web"}`,
		"io.kubernetes.cri-o.Annotations":   `{"note":"n"}`,
	}
	with := func(m map[string]string, pairs ...string) map[string]string {
		m = maps.Clone(m)
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	crioIdentity := identity{runtime: "cri-o", name: "app", image: "quay.io/x/app:2", podName: "web-0", podUID: "uid-1",
		podNamespace: "prod", labels: map[string]string{"app": "web"}}
	containerdIdentity := identity{runtime: "containerd", name: "app", image: "docker.io/library/nginx:1",
		podName: "web-0", podUID: "uid-1", podNamespace: "prod"}
	storage := "/run/containers/storage/overlay-containers/abc/userdata"

	for _, c := range []struct {
		name, bundle string
		annotations  map[string]string
		want         identity
	}{
		{"containerd CRI", shimTasks + "k8s.io/abc", containerd, containerdIdentity},
		{"containerd CRI sandbox", shimTasks + "k8s.io/abc",
			with(pause, "io.kubernetes.container.name", "liar", "io.kubernetes.cri-o.Labels", `{"a":"b"}`), identity{runtime: "containerd",
				image: "registry.k8s.io/pause:3.8", podName: "web-0", podUID: "uid-1", podNamespace: "prod"}},
		{"containerd pod with CRI-O's keys", shimTasks + "k8s.io/abc",
			with(containerd, "io.container.manager", "cri-o", "io.kubernetes.pod.namespace", "kube-system"), containerdIdentity},
		{"ctr run", shimTasks + "default/abc", nil, identity{runtime: "containerd"}},
		{"nerdctl", shimTasks + "default/abc", map[string]string{"nerdctl/name": "web", "nerdctl/namespace": "default"},
			identity{runtime: "nerdctl", name: "web"}},
		{"pod with nerdctl's keys", shimTasks + "k8s.io/abc", with(containerd, "nerdctl/namespace", "x", "nerdctl/name", "y"), containerdIdentity},
		{"docker", shimTasks + "moby/abc", nil, identity{runtime: "docker"}},
		{"docker's own containerd", "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/abc",
			map[string]string{"io.kubernetes.cri.container-name": "liar"}, identity{runtime: "docker"}},
		{"CRI-O", storage, crio, crioIdentity},
		{"CRI-O sandbox", storage, crioPause, identity{runtime: "cri-o", name: "k8s_POD_web-0_prod_uid-1_0", image: "pause",
			podName: "web-0", podNamespace: "prod", podLabels: map[string]string{"app": "web"}, podAnnotations: map[string]string{"note": "n"}}},
		{"CRI-O pod with containerd's keys", storage,
			with(crio, "io.kubernetes.cri.sandbox-namespace", "kube-system", "io.kubernetes.cri.container-name", "liar"), crioIdentity},
		{"Podman", storage, map[string]string{"io.container.manager": "libpod", "io.kubernetes.cri-o.SandboxID": "pod",
			"io.podman.annotations.autoremove": "TRUE", "io.kubernetes.pod.namespace": "kube-system"}, identity{runtime: "podman"}},
		{"bundle by hand, containerd's keys", "/tmp/bundle", containerd, func() identity {
			i := containerdIdentity
			i.runtime = "runc"
			return i
		}()},
		{"bundle by hand, no keys", "/tmp/bundle", nil, identity{runtime: "runc"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := NewRequest(State{ID: "abc", Bundle: c.bundle, Pid: 7}, Config{Annotations: c.annotations}, Hints{Runtime: "runc"})
			if err != nil {
				t.Fatal(err)
			}
			got := identity{r.Runtime, r.Name, r.Image, r.PodName, r.PodUID, r.PodNamespace, r.Labels, r.PodLabels, r.PodAnnotations}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if r.ID != "abc" {
				t.Errorf("id %q, want the state's", r.ID)
			}
		})
	}
}

func TestNewRequestFields(t *testing.T) {
	t.Parallel()
	state, err := ParseState([]byte(`{"ociVersion":"1.0","id":"abc","status":"created","pid":4711,"bundle":"/b","annotations":{"only":"state","both":"state"}}`))
	if err != nil {
		t.Fatal(err)
	}
	config, err := ParseConfig([]byte(`{"ociVersion":"1.2.1","root":{"path":"rootfs"},"annotations":{"both":"config"},
		"mounts":[{"destination":"/proc","type":"proc","source":"proc","options":["nosuid","ro"]},{"destination":"/x"}],
		"linux":{"cgroupsPath":"system.slice:runc:abc","seccomp":{"defaultAction":"x"}},"process":{"args":["sh"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRequest(state, config, Hints{})
	if err != nil {
		t.Fatal(err)
	}
	want := &Request{
		CgroupsPath: "system.slice:runc:abc", RootDir: "/b/rootfs", ID: "abc", InitPid: 4711, Bundle: "/b", Version: "1.2.1",
		Annotations: map[string]string{"only": "state", "both": "config"},
		Mounts:      []Mount{{"/proc", "proc", "proc", []string{"nosuid", "ro"}}, {Destination: "/x"}},
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	config.Root, config.Version = "/abs", ""
	if r, err = NewRequest(state, config, Hints{}); err != nil || r.RootDir != "/abs" || r.Version != "1.0" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestNotUTF8IsReplacedAndNoted(t *testing.T) {
	t.Parallel()
	state, err := ParseState([]byte("{\"id\":\"abc\",\"bundle\":\"/b\",\"pid\":7,\"annotations\":{\"k\":\"\xff\"}}"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := ParseConfig([]byte("{\"linux\":{\"cgroupsPath\":\"/\xfe\"},\"annotations\":{\"b\xc3\":\"\\ud800\"}}"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRequest(state, config, Hints{})
	if err != nil {
		t.Fatal(err)
	}
	if r.CgroupsPath != "/\uFFFD" || r.Annotations["k"] != "\uFFFD" || r.Annotations["b\uFFFD"] != "\uFFFD" {
		t.Errorf("%+v", r)
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "UTF-8") {
		t.Errorf("notes %q", r.Notes)
	}
}

func TestBrokenLabelsAreNoted(t *testing.T) {
	t.Parallel()
	annotations := map[string]string{"io.container.manager": "cri-o", "io.kubernetes.cri-o.Labels": `{"a":1}`}
	r, err := NewRequest(State{ID: "a", Bundle: "/b", Pid: 7}, Config{Annotations: annotations}, Hints{})
	if err != nil || r.Labels != nil || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "io.kubernetes.cri-o.Labels") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestManyAnnotationsAndLongPaths(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range 10_000 {
		many[fmt.Sprintf("key.example/%d", i)] = "value"
	}
	path := "/" + strings.Repeat("p", MaxPath-1)
	raw, err := json.Marshal(map[string]any{
		"annotations": many, "root": map[string]string{"path": path}, "linux": map[string]string{"cgroupsPath": path},
	})
	if err != nil {
		t.Fatal(err)
	}
	config, err := ParseConfig(raw)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRequest(State{ID: "a", Bundle: path, Pid: 7}, config, Hints{})
	if err != nil || len(r.Annotations) != 10_000 || r.CgroupsPath != path || r.RootDir != path {
		t.Fatalf("%d annotations, %v", len(r.Annotations), err)
	}
	if _, err := r.Marshal(); err != nil {
		t.Error(err)
	}
}

func TestRequestIsBounded(t *testing.T) {
	t.Parallel()
	r := &Request{ID: "a", InitPid: 7, Annotations: map[string]string{"k": strings.Repeat("x", MaxRequest-100)}}
	if raw, err := r.Marshal(); err != nil {
		t.Errorf("%d bytes: %v", len(raw), err)
	}
	r.Annotations["l"] = strings.Repeat("x", 100)
	if _, err := r.Marshal(); !errors.Is(err, ErrRequest) {
		t.Errorf("error %v, want ErrRequest", err)
	}
}

// FuzzRequest parses a state and a config.json. Whatever passes is a request
// that the agent can take in.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"ociVersion":"1.0.2","id":"abc","status":"creating","pid":7,"bundle":"/b"}`, `{"linux":{"cgroupsPath":"/a"}}`},
		{`{"id":"a","pid":7,"bundle":"/b","annotations":{"io.container.manager":"cri-o"}}`,
			`{"root":{"path":"../x"},"annotations":{"io.kubernetes.cri-o.Labels":"{\"a\":\"b\"}"},"linux":{}}`},
		{`{"id":"a","pid":7,"bundle":"` + shimTasks + `k8s.io/a"}`, `{"mounts":[{"destination":"/","options":[""]}],"linux":{}}`},
		{`{"id":"..","pid":1,"bundle":"/../.."}`, `{"linux":{"cgroupsPath":"a:b:c"}}`},
		{`{`, `null`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, rawState, rawConfig []byte) {
		state, err := ParseState(rawState)
		if err != nil {
			return
		}
		config, err := ParseConfig(rawConfig)
		if err != nil {
			return
		}
		r, err := NewRequest(state, config, Hints{Runtime: "runc"})
		if err != nil {
			return
		}
		if r.ID == "" || r.InitPid == 0 || !strings.HasPrefix(r.Bundle, "/") || (r.RootDir != "" && r.RootDir[0] != '/') {
			t.Errorf("%+v", r)
		}
		raw, err := r.Marshal()
		if err != nil {
			return
		}
		checkEncoding(t, r, raw)
		for _, s := range []string{r.ID, r.Name, r.Image, r.CgroupsPath, r.RootDir, r.PodNamespace} {
			if !utf8.ValidString(s) {
				t.Errorf("%q is not UTF-8", s)
			}
		}
	})
}
