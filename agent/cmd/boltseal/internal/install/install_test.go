// SPDX-License-Identifier: Apache-2.0

package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	containerd1 = "containerd github.com/containerd/containerd v1.7.24 88bf19b2105c8b17560993bee28a01ddc2f97182\n"
	containerd0 = "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1\n"
	containerd2 = "containerd github.com/containerd/containerd/v2 2.1.4~ds1 abc\n"
	docker28    = "Docker version 28.5.2, build ecc6942\n"
)

// hostCase is a host as it is found in the field, and what its files have to say
// afterwards.
type hostCase struct {
	files   map[string]string
	says    map[string]string
	options func(*Options)
	// want is texts that files have when it is installed, by file.
	want map[string]string
	// lacks is files that must not be there.
	lacks []string
	// registered is what status says then; it is "yes" for each runtime.
	registered []string
}

func hostCases() map[string]hostCase {
	wrapper := func(o *Options) { o.Settings.Wrapper = true }
	one := map[string]string{"containerd --version": containerd1}
	two := map[string]string{"containerd --version": containerd2}
	onlyContainerd := map[string]string{"/usr/bin/containerd!": ""}
	onlyDocker := map[string]string{"/usr/bin/dockerd!": ""}
	return map[string]hostCase{
		"docker without a file": {
			files: onlyDocker, registered: []string{"docker"},
			want: map[string]string{"/etc/docker/daemon.json": "{\n  \"runtimes\": {\n    \"boltseal\": {\n      \"path\": \"/usr/local/bin/boltseal-runc\"\n    }\n  },\n  \"default-runtime\": \"boltseal\"\n}\n"},
		},
		"docker with settings of its own": {
			files: merged(onlyDocker, map[string]string{"/etc/docker/daemon.json": "{\n\t\"log-opts\": {\"max-size\": \"10m\"},\n\t\"x-own\": 12345678901234567890\n}"}),
			want: map[string]string{"/etc/docker/daemon.json": "{\n\t\"log-opts\": {\"max-size\": \"10m\"},\n\t\"x-own\": 12345678901234567890,\n" +
				"\t\"runtimes\": {\n\t\t\"boltseal\": {\n\t\t\t\"path\": \"/usr/local/bin/boltseal-runc\"\n\t\t}\n\t},\n\t\"default-runtime\": \"boltseal\"\n}"},
			registered: []string{"docker"},
		},
		"docker with an empty file": {
			files:      merged(onlyDocker, map[string]string{"/etc/docker/daemon.json": "\n"}),
			want:       map[string]string{"/etc/docker/daemon.json": `"default-runtime": "boltseal"`},
			registered: []string{"docker"},
		},
		"docker with another default runtime": {
			files: merged(onlyDocker, map[string]string{
				"/opt/gpu/gpu-runtime!":   "",
				"/etc/docker/daemon.json": `{"default-runtime":"gpu","runtimes":{"gpu":{"path":"/opt/gpu/gpu-runtime","runtimeArgs":["--x"]}}}`,
			}),
			want: map[string]string{
				"/etc/docker/daemon.json": `{"default-runtime":"boltseal","runtimes":{"gpu":{"path":"/opt/gpu/gpu-runtime","runtimeArgs":["--x"]}, "boltseal": {"path":"/usr/local/bin/boltseal-gpu-runtime","runtimeArgs":["--x"]}}}`,
				"/etc/boltseal/hook.json": `"path": "/opt/gpu/gpu-runtime"`,
			},
			registered: []string{"docker"},
		},
		"docker with a file that its unit names": {
			files: merged(onlyDocker, map[string]string{
				"/usr/lib/systemd/system/docker.service": "[Service]\nExecStart=/usr/bin/dockerd -H fd:// \\\n  --config-file /srv/d.json\n", "/srv/d.json": "{}",
			}),
			want: map[string]string{"/srv/d.json": "boltseal-runc"}, lacks: []string{"/etc/docker"}, registered: []string{"docker"},
		},
		"containerd 1.7 without a file": {
			files: onlyContainerd, says: one, registered: []string{"containerd"},
			want: map[string]string{"/etc/containerd/config.toml": "version = 2\n\n[plugins.\"io.containerd.nri.v1.nri\"]\ndisable = false\n"},
		},
		"containerd 1.7 with the file of Debian": {
			files: merged(onlyContainerd, map[string]string{"/etc/containerd/config.toml": "version = 2\n\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\"]\n    [plugins.\"io.containerd.grpc.v1.cri\".cni]\n      bin_dir = \"/usr/lib/cni\"\n      conf_dir = \"/etc/cni/net.d\"\n  [plugins.\"io.containerd.internal.v1.opt\"]\n    path = \"/var/lib/containerd\"\n"}),
			says:  one, options: wrapper, registered: []string{"containerd"},
			want: map[string]string{"/etc/containerd/config.toml": "path = \"/var/lib/containerd\"\n\n[plugins.\"io.containerd.nri.v1.nri\"]\ndisable = false\n\n" +
				"[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n\n" +
				"[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nBinaryName = \"/usr/local/bin/boltseal-runc\"\n"},
		},
		"containerd 1.7 with all of its defaults": {
			files: merged(onlyContainerd, map[string]string{"/etc/containerd/config.toml": "version = 2\nimports = []\n\n[plugins]\n\n  [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes]\n\n    [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.kata]\n      runtime_type = \"io.containerd.kata.v2\"\n\n    [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n      runtime_type = \"io.containerd.runc.v2\"\n\n      [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n        BinaryName = \"\"\n        SystemdCgroup = true # kubelet's\n\n  [plugins.\"io.containerd.nri.v1.nri\"]\n    disable = true\n    plugin_path = \"/srv/nri\"\n"}),
			says:  one, options: wrapper, registered: []string{"containerd"},
			want: map[string]string{"/etc/containerd/config.toml": "        BinaryName = \"/usr/local/bin/boltseal-runc\"\n        SystemdCgroup = true # kubelet's\n\n  [plugins.\"io.containerd.nri.v1.nri\"]\n    disable = false\n    plugin_path = \"/srv/nri\"\n",
				"/srv/nri/90-boltseal": "plugin"},
			lacks: []string{"/opt/nri"},
		},
		"containerd 1.7 with a directory of drop-ins": {
			files: merged(onlyContainerd, map[string]string{"/etc/containerd/config.toml": "version = 2\nimports = [\"conf.d/*.toml\"]\n", "/etc/containerd/conf.d/50-a.toml": "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \"pause\"\n"}),
			says:  one, options: wrapper, registered: []string{"containerd"},
			want: map[string]string{
				"/etc/containerd/conf.d/10-boltseal.toml": "version = 2\n\n[plugins.\"io.containerd.nri.v1.nri\"]\ndisable = false\n",
				"/etc/containerd/conf.d/50-a.toml":        "BinaryName = \"/usr/local/bin/boltseal-runc\"\n",
				"/etc/containerd/config.toml":             "version = 2\nimports = [\"conf.d/*.toml\"]\n",
			},
		},
		"containerd 1.6 has no NRI": {
			files: onlyContainerd, says: map[string]string{"containerd --version": containerd0}, registered: []string{"containerd"},
			want: map[string]string{"/etc/containerd/config.toml": "version = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n\n" +
				"[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nBinaryName = \"/usr/local/bin/boltseal-runc\"\n"},
			lacks: []string{"/opt/nri"},
		},
		"containerd 2 has NRI on": {
			files: merged(onlyContainerd, map[string]string{"/etc/containerd/config.toml": "version = 3\n"}), says: two,
			want: map[string]string{"/etc/containerd/config.toml": "version = 3\n", "/opt/nri/plugins/90-boltseal": "plugin"}, registered: []string{"containerd"},
		},
		"containerd 1.7 forgets what earlier files say": {
			files: merged(onlyContainerd, map[string]string{
				"/usr/bin/crun!": "", "/etc/containerd/config.toml": "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.crun]\nruntime_type = 'io.containerd.runc.v2'\noptions.BinaryName = '/usr/bin/crun'\n",
				"/etc/containerd/conf.d/50.toml": "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.cni]\nconf_dir = '/c'\n",
			}),
			says: one, options: wrapper, registered: []string{"containerd"},
			want:  map[string]string{"/etc/containerd/conf.d/50.toml": "containerd.runtimes.runc.options]\nBinaryName = \"/usr/local/bin/boltseal-runc\"\n"},
			lacks: []string{"/usr/local/bin/boltseal-crun"},
		},
		"containerd 2 joins what files say": {
			files: merged(onlyContainerd, map[string]string{
				"/usr/bin/crun!": "", "/etc/containerd/config.toml": "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.crun]\nruntime_type = 'io.containerd.runc.v2'\noptions.BinaryName = '/usr/bin/crun'\n",
				"/etc/containerd/conf.d/50.toml": "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nconf_dir = '/c'\n",
			}),
			says: two, options: wrapper, registered: []string{"containerd"},
			want: map[string]string{
				"/etc/containerd/conf.d/50.toml": "conf_dir = '/c'\n\n[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.crun.options]\nBinaryName = \"/usr/local/bin/boltseal-crun\"\n",
			},
		},
		"containerd 2 with another low-level runtime": {
			files: merged(onlyContainerd, map[string]string{"/usr/bin/crun!": "", "/etc/containerd/config.toml": "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.crun]\nruntime_type = 'io.containerd.runc.v2'\noptions.BinaryName = '/usr/bin/crun'\n"}),
			says:  two, options: wrapper, registered: []string{"containerd"},
			want: map[string]string{"/etc/containerd/config.toml": "options.BinaryName = \"/usr/local/bin/boltseal-crun\"\n", "/usr/local/bin/boltseal-crun": "hook"},
		},
		"containerd with a base spec": {
			files: merged(onlyContainerd, map[string]string{"/usr/bin/ctr!": ""}), options: func(o *Options) { o.Settings.BaseSpec = true },
			says: map[string]string{"containerd --version": containerd2, "ctr oci spec": "{\n \"ociVersion\": \"1.2.0\",\n \"process\": {\"args\": []}\n}\n"},
			want: map[string]string{
				"/etc/containerd/boltseal-base.json": "\"createRuntime\": [\n   {\n    \"path\": \"/usr/local/bin/boltseal-hook\",",
				"/etc/containerd/config.toml":        "version = 3\n\n[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.runc]\nbase_runtime_spec = \"/etc/containerd/boltseal-base.json\"\nruntime_type = \"io.containerd.runc.v2\"\n",
			}, registered: []string{"containerd"},
		},
		"docker and the containerd that it brings": {
			files: merged(onlyDocker, onlyContainerd, map[string]string{"/etc/containerd/config.toml": "#   Copyright\n\ndisabled_plugins = [\"cri\"]\n\n#root = \"/var/lib/containerd\"\n"}),
			says:  one, registered: []string{"docker"},
			want: map[string]string{"/etc/containerd/config.toml": "disabled_plugins"}, lacks: []string{"/opt/nri"},
		},
		"podman with env": {
			files: map[string]string{"/usr/bin/podman!": "", "/usr/bin/env!": ""}, registered: []string{"podman"},
			want: map[string]string{"/usr/share/containers/oci/hooks.d/10-boltseal.json": "\"path\": \"/usr/bin/env\",\n    \"args\": [\n      \"env\",\n      \"/usr/local/bin/boltseal-hook\",\n      \"createRuntime\"\n    ],"},
		},
		"podman": {
			files: map[string]string{"/usr/bin/podman!": ""}, registered: []string{"podman"}, lacks: []string{"/etc/containers"},
			want: map[string]string{"/usr/share/containers/oci/hooks.d/10-boltseal.json": "{\n  \"version\": \"1.0.0\",\n  \"hook\": {\n    \"path\": \"/usr/local/bin/boltseal-hook\",\n    \"args\": [\n      \"boltseal-hook\",\n      \"createRuntime\"\n    ],\n    \"timeout\": 4\n  },\n  \"when\": {\n    \"always\": true\n  },\n  \"stages\": [\n    \"createRuntime\"\n  ]\n}\n"},
		},
		"podman with directories and a deadline of its own": {
			files: map[string]string{
				"/usr/bin/podman!": "", "/usr/share/containers/containers.conf": "[engine]\nhooks_dir = [\"/usr/share/containers/oci/hooks.d\"]\n",
				"/etc/containers/containers.conf": "[engine]\nhooks_dir = [\"/a\", \"/srv/hooks\"]\n", "/etc/boltseal/hook.json": `{"deadline": "4500ms"}`,
			},
			want: map[string]string{"/srv/hooks/10-boltseal.json": "\"timeout\": 7\n"}, lacks: []string{"/usr/share/containers/oci"}, registered: []string{"podman"},
		},
		"CRI-O and podman": {
			files: map[string]string{"/usr/bin/podman!": "", "/usr/bin/crio!": "", "/etc/crio/crio.conf": "[crio.runtime]\nhooks_dir = [\"/srv/h\"]\n"},
			want: map[string]string{
				"/usr/share/containers/oci/hooks.d/10-boltseal.json": "always",
				"/etc/containers/oci/hooks.d/10-boltseal.json":       "always", "/opt/nri/plugins/90-boltseal": "plugin",
				"/etc/crio/crio.conf.d/10-boltseal.conf": "[crio.nri]\nenable_nri = true\n\n[crio.runtime]\nhooks_dir = [\n  \"/srv/h\",\n  \"/etc/containers/oci/hooks.d\",\n]\n",
			}, registered: []string{"podman", "crio"},
		},
		"CRI-O with a later drop-in": {
			files: map[string]string{"/usr/bin/crio!": "", "/etc/crio/crio.conf.d/99-hooks.conf": "[crio.runtime]\nhooks_dir = [\"/srv/h\"]\n"},
			want:  map[string]string{"/srv/h/10-boltseal.json": "always"}, lacks: []string{"/etc/containers"}, registered: []string{"crio"},
		},
		"programs elsewhere": {
			files:   merged(onlyContainerd, map[string]string{"/opt/b/boltseal-hook!": "hook", "/opt/b/boltseal-nri!": "plugin"}),
			options: func(o *Options) { o.BinDir = "/opt/b" }, registered: []string{"containerd"},
			want: map[string]string{"/opt/nri/plugins/90-boltseal": "#!/bin/sh\nexec '/opt/b/boltseal-nri' --hook '/opt/b/boltseal-hook'\n"},
		},
	}
}

func (c hostCase) image(t *testing.T) *image {
	t.Helper()
	i := newImage(t, c.files)
	i.says = merged(map[string]string{"dockerd --version": docker28}, c.says)
	if c.options != nil {
		c.options(&i.options)
	}
	return i
}

func TestInstallAndUninstall(t *testing.T) {
	for name, test := range hostCases() {
		t.Run(name, func(t *testing.T) {
			i := test.image(t)
			before := i.files()
			for runtime, state := range i.registered() {
				if state != Unregistered && state != NotNeeded && state != PartlyDone {
					t.Errorf("before: %s: %s", runtime, state)
				}
			}
			i.options.DryRun = true
			dry := i.install()
			i.options.DryRun = false
			i.same(before, "a dry run wrote")
			done := i.install()
			if len(dry.Changes) == 0 || len(dry.Changes) != len(done.Changes) {
				t.Errorf("%d changes, the dry run had %d", len(done.Changes), len(dry.Changes))
			}
			test.look(t, i)
			installed := i.files()
			if again := i.install(); len(again.Changes)+len(again.Reloads) > 0 {
				t.Errorf("the second time: %v, %v", again.Changes, again.Reloads)
			}
			i.same(installed, "the second time changed")
			i.uninstall()
			i.same(before, "uninstall left")
			i.uninstall()
			i.same(before, "a second uninstall changed")
		})
	}
}

func (c hostCase) look(t *testing.T, i *image) {
	t.Helper()
	for file, text := range c.want {
		if got := i.text(c.follow(i, file)); !strings.Contains(got, text) {
			t.Errorf("%s:\n%s\nhas not:\n%s", file, got, text)
		}
	}
	for name := range i.files() {
		for _, lacks := range c.lacks {
			if strings.HasPrefix(name, lacks+"/") {
				t.Errorf("%s is there", name)
			}
		}
	}
	registered := i.registered()
	for _, runtime := range c.registered {
		if registered[runtime] != Registered {
			t.Errorf("%s: registered: %q", runtime, registered[runtime])
		}
	}
}

// follow is where a path leads to in the image.
func (hostCase) follow(i *image, file string) string {
	h, err := i.options.host()
	if err != nil {
		i.t.Fatal(err)
	}
	where, err := h.resolve(file)
	if err != nil {
		i.t.Fatal(err)
	}
	return strings.TrimPrefix(where, i.root)
}

// TestRefused: what cannot be done is not begun, and the error names the file.
func TestRefused(t *testing.T) {
	tests := map[string]struct {
		files   map[string]string
		options func(*Options)
		want    string
	}{
		"JSON with a fault":                 {files: map[string]string{"/usr/bin/dockerd!": "", "/etc/docker/daemon.json": "{\n \"a\": 1,\n}"}, want: "/etc/docker/daemon.json: line 3"},
		"JSON that is a list":               {files: map[string]string{"/usr/bin/dockerd!": "", "/etc/docker/daemon.json": "[]"}, want: "/etc/docker/daemon.json: line 1: must be an object"},
		"a default runtime that is nowhere": {files: map[string]string{"/usr/bin/dockerd!": "", "/etc/docker/daemon.json": `{"default-runtime": "x"}`}, want: `default-runtime: "x" is not among`},
		"a default runtime that is a shim":  {files: map[string]string{"/usr/bin/dockerd!": "", "/etc/docker/daemon.json": `{"default-runtime": "x", "runtimes": {"x": {"runtimeType": "y"}}}`}, want: "is a shim"},
		"a flag in the unit":                {files: map[string]string{"/usr/bin/dockerd!": "", "/etc/systemd/system/docker.service.d/a.conf": "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --default-runtime=x\n"}, want: "--default-runtime"},
		"a link to elsewhere":               {files: map[string]string{"/usr/bin/dockerd!": "", "/nix/d.json": "{}", "/etc/docker/daemon.json": "->/nix/d.json"}, want: "/etc/docker/daemon.json: is a symbolic link"},
		"TOML with a fault":                 {files: map[string]string{"/usr/bin/containerd!": "", "/etc/containerd/config.toml": "version = 2\n[x\n"}, want: "/etc/containerd/config.toml: line 2"},
		"an old version":                    {files: map[string]string{"/usr/bin/containerd!": "", "/etc/containerd/config.toml": "[plugins.cri]\nx = 1\n"}, want: "/etc/containerd/config.toml: version 0"},
		"an inline table":                   {files: map[string]string{"/usr/bin/containerd!": "", "/etc/containerd/config.toml": "version = 2\nplugins = {\"io.containerd.nri.v1.nri\" = {disable = true}}\n"}, want: "line 2: is in an inline table"},
		"containerd's fault after docker's success": {
			files: map[string]string{"/usr/bin/dockerd!": "", "/usr/bin/containerd!": "", "/etc/containerd/config.toml": "x"}, want: "containerd: /etc/containerd/config.toml",
		},
		"NRI turned off later":          {files: map[string]string{"/usr/bin/crio!": "", "/etc/crio/crio.conf.d/20.conf": "[crio.nri]\nenable_nri = false\n"}, want: "/etc/crio/crio.conf.d/20.conf"},
		"hooks_dir that is no list":     {files: map[string]string{"/usr/bin/podman!": "", "/etc/containers/containers.conf": "engine.hooks_dir = \"/a\"\n"}, want: "/etc/containers/containers.conf"},
		"no runtime":                    {files: map[string]string{}, want: ErrNone.Error()},
		"an unknown runtime":            {options: func(o *Options) { o.Runtimes = []string{"lxc"} }, want: `runtime "lxc" is not known`},
		"no programs":                   {options: func(o *Options) { o.BinDir = "/opt" }, want: "/opt/boltseal-hook: is no program"},
		"a wrapper that is another's":   {files: map[string]string{"/usr/bin/dockerd!": "", "/usr/local/bin/boltseal-runc!": "other"}, want: "/usr/local/bin/boltseal-runc: is there and is not boltseal's"},
		"a base spec without ctr":       {files: map[string]string{"/usr/bin/containerd!": ""}, options: func(o *Options) { o.Settings.BaseSpec = true }, want: "it needs ctr"},
		"a manifest of another version": {files: map[string]string{"/usr/bin/podman!": "", manifestFile: `{"version": 9}`}, want: "version 9"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			i := newImage(t, test.files)
			if test.options != nil {
				test.options(&i.options)
			}
			before := i.files()
			_, err := Install(t.Context(), i.options)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
			i.same(before, "what was refused changed")
		})
	}
}

// TestRuntimeRefuses: what the runtime itself does not take is put back.
func TestRuntimeRefuses(t *testing.T) {
	for command, files := range map[string]map[string]string{
		"dockerd --validate":   {"/usr/bin/dockerd!": "", "/etc/docker/daemon.json": "{\"unknown\": 1}"},
		"containerd --config ": {"/usr/bin/containerd!": "", "/etc/containerd/config.toml": "version = 2\n"},
	} {
		i := newImage(t, files)
		i.says = map[string]string{"dockerd --version": docker28, "containerd --version": containerd1}
		i.refuses[command] = "bad key"
		before := i.files()
		if _, err := Install(t.Context(), i.options); err == nil || !strings.Contains(err.Error(), "refuses it: bad key") {
			t.Errorf("%s: %v", command, err)
		}
		i.same(before, command)
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]version{
		docker28: {"28.5.2", 28, 5}, containerd1: {"1.7.24", 1, 7}, containerd2: {"2.1.4~ds1", 2, 1},
		"podman version 5.4.2": {"5.4.2", 5, 4}, "crio version 1.31.0\nVersion: 1.31.0": {"1.31.0", 1, 31}, "hello": {},
	} {
		if got := parseVersion(text); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

// TestRootIsNotLeft: links of an image lead into the image.
func TestRootIsNotLeft(t *testing.T) {
	outside := &image{t: t, root: t.TempDir()}
	empty := outside.files()
	i := newImage(t, map[string]string{"/usr/bin/podman!": "", "/usr/share/containers": "->" + outside.root})
	before := i.files()
	if _, err := Install(t.Context(), i.options); err == nil {
		t.Error("a link that leads nowhere in the image was taken for a directory")
	}
	i.same(before, "a link that leads nowhere")
	i.add(map[string]string{outside.root + "/x": ""})
	i.install()
	i.text(outside.root + "/oci/hooks.d/10-boltseal.json")

	i = newImage(t, map[string]string{"/usr/bin/podman!": "", "/x/y": "", "/usr/share/containers": "->../../../../x", "/loop": "->loop"})
	i.install()
	i.text("/x/oci/hooks.d/10-boltseal.json")
	outside.same(empty, "the root was left")
	if _, err := (&disk{root: i.root}).at("/loop/x"); err == nil {
		t.Error("a loop of links was followed")
	}
}

// dockerdRuns makes the image's dockerd one that runs.
func (i *image) dockerdRuns() {
	i.t.Helper()
	program := filepath.Join(i.t.TempDir(), "dockerd")
	text, err := os.ReadFile("/bin/sleep")
	if err == nil {
		err = os.WriteFile(program, text, 0o700)
	}
	cmd := exec.Command(program, "1000")
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	i.add(map[string]string{dockerPID: strconv.Itoa(cmd.Process.Pid)})
}

// TestDockerdIsAskedAfterReload: that dockerd has read its file is not said unless it
// shows. Before version 25 it keeps a default runtime that is taken out.
func TestDockerdIsAskedAfterReload(t *testing.T) {
	const info = "docker info --format {{.DefaultRuntime}}"
	for name, test := range map[string]struct{ installed, uninstalled, wantInstalled, wantUninstalled string }{
		"reloads":        {"boltseal\n", "runc\n", "keep their runtime", "keep their runtime"},
		"keeps it":       {"boltseal\n", "boltseal\n", "keep their runtime", "restart it"},
		"cannot be told": {"", "", "restart it", "keep their runtime"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newImage(t, map[string]string{"/usr/bin/dockerd!": ""})
			i.dockerdRuns()
			i.says[info] = test.installed
			if got := i.install().Reloads["docker"]; !strings.Contains(got, test.wantInstalled) {
				t.Errorf("installed: %s, want %s", got, test.wantInstalled)
			}
			i.says[info] = test.uninstalled
			if got := i.uninstall().Reloads["docker"]; !strings.Contains(got, test.wantUninstalled) {
				t.Errorf("uninstalled: %s, want %s", got, test.wantUninstalled)
			}
		})
	}
}
