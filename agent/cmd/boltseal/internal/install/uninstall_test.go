// SPDX-License-Identifier: Apache-2.0

package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rewrite changes a file as a user would.
func (i *image) rewrite(name, from, to string) {
	i.t.Helper()
	text := i.text(name)
	if !strings.Contains(text, from) {
		i.t.Fatalf("%s has not %q: %s", name, from, text)
	}
	if err := os.WriteFile(filepath.Join(i.root, name), []byte(strings.Replace(text, from, to, 1)), 0o600); err != nil {
		i.t.Fatal(err)
	}
}

// TestWhatUsersChangedIsKept: only our own parts are taken out of files that were
// changed in between.
func TestWhatUsersChangedIsKept(t *testing.T) {
	const dockerFile, containerdFile = "/etc/docker/daemon.json", "/etc/containerd/config.toml"
	tests := map[string]struct {
		edit func(*image)
		// want is the file afterwards; empty for none.
		file, want, note string
	}{
		"docker, a key more": {
			edit: func(i *image) { i.rewrite(dockerFile, "\"debug\": true", "\"debug\": false,\n  \"ipv6\": true") },
			file: dockerFile, want: "{\n  \"debug\": false,\n  \"ipv6\": true\n}\n", note: "was changed since: only what boltseal wrote",
		},
		"docker, a runtime more": {
			edit: func(i *image) { i.rewrite(dockerFile, "\"runtimes\": {", "\"runtimes\": {\"x\": {\"path\": \"/x\"},") },
			file: dockerFile, want: "{\n  \"debug\": true,\n  \"runtimes\": {\"x\": {\"path\": \"/x\"}\n  }\n}\n", note: "only what boltseal wrote",
		},
		"docker, another default": {
			edit: func(i *image) {
				i.rewrite(dockerFile, "\"default-runtime\": \"boltseal\"", "\"default-runtime\": \"runc\"")
			},
			file: dockerFile, want: "{\n  \"debug\": true,\n  \"default-runtime\": \"runc\"\n}\n", note: "left, for it has another value now: default-runtime",
		},
		"docker, file removed": {
			edit: func(i *image) { _ = os.Remove(filepath.Join(i.root, dockerFile)) }, file: dockerFile, note: "was removed since",
		},
		"docker, installed again after a change": {
			edit: func(i *image) {
				i.rewrite(dockerFile, "\"default-runtime\": \"boltseal\"", "\"default-runtime\": \"runc\",\n  \"ipv6\": true")
				i.install()
				if !strings.Contains(i.text(dockerFile), "\"default-runtime\": \"boltseal\",\n  \"ipv6\"") {
					i.t.Error(i.text(dockerFile))
				}
			},
			file: dockerFile, want: "{\n  \"debug\": true,\n  \"default-runtime\": \"runc\",\n  \"ipv6\": true\n}\n",
		},
		"containerd, a key more": {
			edit: func(i *image) { i.rewrite(containerdFile, "# mine\n", "# mine\nroot = \"/r\"\n") },
			file: containerdFile, want: "version = 2\n# mine\nroot = \"/r\"\n", note: "only what boltseal wrote",
		},
		"containerd, a key in our table": {
			edit: func(i *image) {
				i.rewrite(containerdFile, "disable = false\n", "disable = false\nsocket_path = \"/s\"\n")
			},
			file: containerdFile, want: "version = 2\n# mine\n\n[plugins.\"io.containerd.nri.v1.nri\"]\nsocket_path = \"/s\"\n", note: "only what boltseal wrote",
		},
		"podman, our own file": {
			edit: func(i *image) { i.rewrite("/usr/share/containers/oci/hooks.d/10-boltseal.json", "true", "false") },
			file: "/usr/share/containers/oci/hooks.d/10-boltseal.json.boltseal-saved", want: "false", note: "was changed since: kept as",
		},
		"a wrapper that became a program": {
			edit: func(i *image) {
				_ = os.Remove(filepath.Join(i.root, "/usr/local/bin/boltseal-runc"))
				i.add(map[string]string{"/usr/local/bin/boltseal-runc!": "mine"})
			},
			file: "/usr/local/bin/boltseal-runc", want: "mine", note: "was replaced since: left as it is",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			i := busy(t)
			i.install()
			test.edit(i)
			r := i.uninstall()
			if !strings.Contains(strings.Join(r.Notes, "\n"), test.note) {
				t.Errorf("notes: %q, want %s", r.Notes, test.note)
			}
			got := ""
			if _, there := i.files()[test.file+"/"]; there {
				got = i.text(test.file)
			}
			if got != test.want && (test.want == "" || !strings.Contains(got, test.want) || strings.HasPrefix(test.want, "{") || strings.HasPrefix(test.want, "v")) {
				t.Errorf("%s:\n%s\nwant:\n%s", test.file, got, test.want)
			}
			for name := range i.files() {
				if strings.HasPrefix(name, "/var/lib/boltseal/") {
					t.Errorf("%s is left", name)
				}
			}
		})
	}
}

// TestEditedOwnFileIsNotOverwritten: what somebody made of a file of ours is kept.
func TestEditedOwnFileIsNotOverwritten(t *testing.T) {
	i := busy(t)
	i.install()
	i.rewrite("/usr/share/containers/oci/hooks.d/10-boltseal.json", "true", "false")
	before := i.files()
	if _, err := Install(t.Context(), i.options); err == nil || !strings.Contains(err.Error(), "10-boltseal.json: was changed since") {
		t.Error(err)
	}
	i.same(before, "what was refused changed")
}

// TestFileMadeForUsGoesWithOurKeys: a user's own key in it keeps it.
func TestFileMadeForUsGoesWithOurKeys(t *testing.T) {
	for edit, want := range map[string]bool{"{\n ": false, "{\n  \"debug\": true,": true} {
		i := newImage(t, map[string]string{"/usr/bin/dockerd!": ""})
		i.install()
		i.rewrite("/etc/docker/daemon.json", "{\n", edit)
		i.uninstall()
		if _, there := i.files()["/etc/docker/daemon.json/"]; there != want {
			t.Errorf("with %q: there: %v", edit, there)
		}
	}
}

// TestUninstallOne leaves what other runtimes need.
func TestUninstallOne(t *testing.T) {
	i := busy(t)
	before := i.files()
	i.install()
	all := i.options.Runtimes
	i.options.Runtimes = []string{"podman", "docker"}
	i.uninstall()
	i.options.Runtimes = all
	if got := i.registered(); got["crio"] != Registered || got["containerd"] != Registered || got["docker"] != PartlyDone {
		t.Errorf("%v", got) // docker's wrapper is containerd's
	}
	i.text("/etc/containers/oci/hooks.d/10-boltseal.json")
	if _, there := i.files()["/usr/share/containers/oci/hooks.d/10-boltseal.json/"]; there {
		t.Error("podman still has its hook")
	}
	if i.text("/etc/docker/daemon.json") != "{\n  \"debug\": true\n}\n" {
		t.Error(i.text("/etc/docker/daemon.json"))
	}
	i.uninstall()
	i.same(before, "uninstall in two steps left")
}

// TestBoundContainersAreToldOf: Docker does not start containers whose runtime is
// gone.
func TestBoundContainersAreToldOf(t *testing.T) {
	i := busy(t)
	i.add(map[string]string{"/var/lib/docker/containers/a/hostconfig.json": `{"Runtime":"boltseal"}`, "/var/lib/docker/containers/b/hostconfig.json": `{"Runtime":"runc"}`})
	i.install()
	if r := i.uninstall(); !strings.Contains(strings.Join(r.Notes, "\n"), "with the runtime boltseal (1)") {
		t.Errorf("%q", r.Notes)
	}
}

// TestRunningContainersKeepTheirRuntime: what shims call stays until no container runs by
// it any more, with where it finds the runtime behind it.
func TestRunningContainersKeepTheirRuntime(t *testing.T) {
	for name, dir := range map[string]string{
		"docker": "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/1", "containerd": "/run/containerd/io.containerd.runtime.v2.task/k8s.io/1",
	} {
		t.Run(name, func(t *testing.T) {
			i := newImage(t, map[string]string{
				"/usr/bin/dockerd!": "", "/opt/runc!": "",
				"/etc/docker/daemon.json": `{"default-runtime": "mine", "runtimes": {"mine": {"path": "/opt/runc"}}}`,
			})
			before := i.files()
			i.install()
			i.add(map[string]string{dir + "/runtime": "/usr/local/bin/boltseal-runc", dir + "0/runtime": "runc"})
			said := strings.Join(i.uninstall().Notes, "\n")
			if !strings.Contains(said, "boltseal-runc: stays, as containers that were started by it (1)") {
				t.Errorf("said %q", said)
			}
			if wrapper, err := os.Readlink(filepath.Join(i.root, "/usr/local/bin/boltseal-runc")); err != nil || wrapper != "boltseal-hook" {
				t.Errorf("the wrapper is %q: %v", wrapper, err)
			}
			if settings := i.text("/etc/boltseal/hook.json"); !strings.Contains(settings, "/opt/runc") {
				t.Errorf("the wrapper does not find its runtime: %s", settings)
			}
			if registered := i.registered()["docker"]; registered != PartlyDone {
				t.Errorf("registered: %s", registered)
			}
			if config := i.text("/etc/docker/daemon.json"); strings.Contains(config, "boltseal") {
				t.Errorf("new containers would be started by it: %s", config)
			}
			if err := os.RemoveAll(filepath.Join(i.root, "run")); err != nil {
				t.Fatal(err)
			}
			if notes := i.uninstall().Notes; len(notes) != 0 {
				t.Errorf("said %q", notes)
			}
			i.same(before, "uninstalled again")
		})
	}
}

func TestStatusTellsOfEachFile(t *testing.T) {
	i := busy(t)
	state := func(runtime, file string) string {
		all, err := Status(t.Context(), i.options)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			for _, f := range r.Files {
				if r.Name == runtime && f.Path == file {
					return f.State + ", " + r.Registered + ", " + r.Do
				}
			}
		}
		return ""
	}
	const file, hooks = "/etc/docker/daemon.json", "/usr/share/containers/oci/hooks.d/10-boltseal.json"
	check := func(runtime, file, want string) {
		t.Helper()
		if got := state(runtime, file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
	check("docker", file, "not registered, no, boltseal hook install --runtime docker")
	i.install()
	check("docker", file, "installed, yes, ")
	i.rewrite(file, "\"debug\": true", "\"debug\": false")
	check("docker", file, "changed since, yes, ")
	i.rewrite(file, "\"default-runtime\": \"boltseal\"", "\"default-runtime\": \"runc\"")
	check("docker", file, "not registered, partly, boltseal hook install --runtime docker")
	_ = os.Remove(filepath.Join(i.root, hooks))
	check("podman", hooks, "missing, no, boltseal hook install --runtime podman")
	text := "{\"broken\""
	i.add(map[string]string{file: text})
	if got := i.registered()["docker"]; got != NotKnown {
		t.Errorf("a broken file: %s", got)
	}
	_ = os.Remove(filepath.Join(i.root, "/usr/local/bin/boltseal-hook"))
	check("containerd", "/usr/local/bin/boltseal-hook", "missing, partly, install /usr/local/bin/boltseal-hook, or name its directory with --bin-dir")
	j := newImage(t, map[string]string{"/usr/bin/podman!": ""})
	j.install()
	_ = os.Remove(filepath.Join(j.root, manifestFile))
	if all, err := Status(t.Context(), j.options); err != nil || all[2].Files[0].State != FileByHand || all[2].Registered != Registered {
		t.Errorf("by hand: %+v, %v", all, err)
	}
}

// FuzzManifest: what is read back is used to overwrite files; nonsense is refused.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"version":1,"files":[{"path":"/a","format":"json","edits":[{"path":["a"],"value":1}],"before":null}]}`), []byte("{\"a\":1}"))
	f.Add([]byte(`{"version":1,"files":[null]}`), []byte(""))
	f.Add([]byte(`{"version":1,"files":[{"path":"/a","format":"toml","edits":[{"path":["a","b"],"value":"x","old":{}}]}]}`), []byte("[a]\nb='x'"))
	f.Fuzz(func(t *testing.T, text, file []byte) {
		m := &manifest{}
		if m.decode(text) != nil {
			return
		}
		for _, e := range m.Files {
			if e.Format != formatWhole {
				_, _, _ = strip(e.Format, file, e.Edits)
			}
		}
	})
}
