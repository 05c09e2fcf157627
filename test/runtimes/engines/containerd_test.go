// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv"
)

const (
	containerdConfig = "/etc/containerd/config.toml"
	containerdSocket = "/run/containerd/containerd.sock"
	// pluginLink is how hook install names the plugin.
	pluginLink = "/opt/nri/plugins/90-boltseal"
)

// containerdWay is a way into containerd.
type containerdWay struct {
	by string
	// install are the flags of hook install; plugin: with the NRI plugin that it
	// installs with any of them. Without it the other way shows what it does alone.
	install []string
	plugin  bool
}

func containerdWays() []way {
	var all []way
	for _, w := range []containerdWay{
		{by: "NRI", plugin: true},
		{by: "wrapper", install: []string{"--wrapper"}},
		{by: "base spec", install: []string{"--base-spec"}},
		{by: "NRI and wrapper", install: []string{"--wrapper"}, plugin: true},
		{by: "NRI and base spec", install: []string{"--base-spec"}, plugin: true},
	} {
		all = append(all, way{
			engine: "containerd", by: w.by,
			lacks: func(t *testing.T) string { return w.lacks(t) },
			open:  func(t *testing.T) engine { return openContainerd(t, w) },
			plain: func(t *testing.T) unregistered { return plainContainerd(t, w) },
		})
	}
	return all
}

// lacks tells that NRI came with containerd 1.7.
func (w containerdWay) lacks(t *testing.T) string {
	t.Helper()
	needs(t, "containerd", "ctr")
	if !w.plugin || !beforeNRI(containerdVersion(t)) {
		return ""
	}
	if plugins := must(t, "containerd", "config", "default"); strings.Contains(plugins, "io.containerd.nri.v1.nri") {
		t.Errorf("containerd 1.6 has NRI: %s", plugins)
	}
	return "containerd 1.6 has no NRI"
}

func beforeNRI(version string) bool { return strings.HasPrefix(version, "1.6.") }

func containerdVersion(t *testing.T) string {
	t.Helper()
	return versionIn(must(t, "containerd", "--version"))
}

// crd is containerd with everything at its usual place.
type crd struct {
	*kube
	containerdWay
	version string
	daemon  *testenv.DaemonProcess
	t       *testing.T // of all cells
	// beside is a containerd without boltseal, nil until it is asked for; plain are its
	// containers.
	beside *kube
	plain  map[string]bool
}

// openContainerd starts containerd with boltseal in it by one way.
func openContainerd(t *testing.T, w containerdWay) engine {
	t.Helper()
	c := &crd{containerdWay: w, version: containerdVersion(t), t: t, plain: map[string]bool{}}
	c.configure(t, containerdText(c.version, "", len(w.install) > 0))
	register(t, "containerd", w.install...)
	if !w.plugin && !beforeNRI(c.version) {
		aside(t, pluginLink)
	}
	c.boot()
	c.kube = newKube(t, containerdSocket)
	return c
}

// plainContainerd starts one without boltseal, with the configuration of the release.
func plainContainerd(t *testing.T, w containerdWay) unregistered {
	t.Helper()
	c := &crd{containerdWay: w, version: containerdVersion(t), t: t, plain: map[string]bool{}}
	c.configure(t, containerdText("1.7", "", true)) // the form that Debian's have, also of version 2
	c.boot()
	c.kube = newKube(t, containerdSocket)
	return c
}

func (c *crd) flags() []string { return c.install }

// reload restarts it, as install says.
func (c *crd) reload(t *testing.T, _ string) {
	t.Helper()
	c.reboot(t, false)
}

func (c *crd) doctor() []string { return nil }

// labelless: the CRI keeps labels to itself, and tells NRI alone.
func (c *crd) labelless() bool { return beforeNRI(c.version) }

// create makes a container, in a containerd without boltseal if it is to be a plain one.
func (c *crd) create(t *testing.T, o container) string {
	t.Helper()
	if !o.plain {
		return c.kube.create(t, o)
	}
	if c.beside == nil {
		dir := testenv.Dir(c.t)
		file := filepath.Join(dir, "config.toml")
		if err := writeNew(file, containerdText(c.version, dir, false)); err != nil {
			t.Fatal(err)
		}
		testenv.Daemon(c.t, dir, "containerd", "--config", file)
		c.beside = newKube(c.t, filepath.Join(dir, "c.sock"))
	}
	id := c.beside.create(t, o)
	c.plain[id] = true
	return id
}

// of is the side that a container is on.
func (c *crd) of(id string) *kube {
	if c.plain[id] {
		return c.beside
	}
	return c.kube
}

func (c *crd) start(t *testing.T, id string) testenv.Result {
	t.Helper()
	return c.of(id).start(t, id)
}

func (c *crd) remove(t *testing.T, id string) {
	t.Helper()
	c.of(id).remove(t, id)
}

// aside keeps a file from being found until the test ends.
func aside(t *testing.T, path string) {
	t.Helper()
	away := filepath.Join(filepath.Dir(filepath.Dir(path)), filepath.Base(path)+".aside")
	if err := os.Rename(path, away); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Rename(away, path); err != nil {
			t.Error(err)
		}
	})
}

// boot starts containerd.
func (c *crd) boot() {
	c.t.Helper()
	c.daemon = testenv.Daemon(c.t, testenv.Dir(c.t), "containerd")
}

// configure has containerd configured otherwise until the test ends.
func (c *crd) configure(t *testing.T, text string) {
	t.Helper()
	was, err := os.ReadFile(containerdConfig)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(containerdConfig, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(containerdConfig, was, 0o644); err != nil {
			t.Error(err)
		}
	})
}

// containerdText is a configuration for this machine; with a directory, for a
// containerd of its own that has no plugins. Bundles tell of what containers are marked
// with if they are to: who has a plugin need not be told that way.
func containerdText(version, dir string, tell bool) string {
	text := "version = 2\n"
	service, images := "io.containerd.grpc.v1.cri", fmt.Sprintf("sandbox_image = %q\n", imageName)
	if !strings.HasPrefix(version, "1.") {
		text = "version = 3\n"
		service, images = "io.containerd.cri.v1.runtime", fmt.Sprintf("[plugins.%q.pinned_images]\nsandbox = %q\n", "io.containerd.cri.v1.images", imageName)
	}
	if dir != "" {
		text += fmt.Sprintf("root = %q\nstate = %q\n[grpc]\naddress = %q\n[ttrpc]\naddress = %q\n",
			dir+"/root", dir+"/state", dir+"/c.sock", dir+"/t.sock")
		text += fmt.Sprintf("[plugins.%q]\ndisable = true\n", "io.containerd.nri.v1.nri")
	}
	// The plugin that is moved makes directories below /opt.
	text += fmt.Sprintf("[plugins.%q]\npath = %q\n", "io.containerd.internal.v1.opt", "/var/lib/containerd/opt")
	text += fmt.Sprintf("[plugins.%q]\ndisable_apparmor = true\nrestrict_oom_score_adj = true\ndisable_hugetlb_controller = true\n", service)
	runtime := fmt.Sprintf("[plugins.%q.containerd.runtimes.runc]\nruntime_type = %q\n", service, "io.containerd.runc.v2")
	if tell {
		runtime += "container_annotations = [\"boltseal.test/*\"]\n"
	}
	if service == "io.containerd.grpc.v1.cri" {
		return text + images + runtime
	}
	return text + runtime + images
}

func (c *crd) title() string { return c.version }

// reboot ends containerd, in order or not, and starts it anew; containers go on.
func (c *crd) reboot(t *testing.T, kill bool) {
	t.Helper()
	if kill {
		c.daemon.Kill(t)
	} else {
		c.daemon.Stop(t)
	}
	c.boot()
	c.answers(t)
	// What ends last is what was started first, and the pod needs the new one.
	c.t.Cleanup(func() { c.pod.remove(c.t) })
}

// plugins are the processes of the NRI plugin, with their parents: a standby's is the
// plugin whose place it takes.
func plugins(t *testing.T) map[int]int {
	t.Helper()
	program, err := os.Stat(filepath.Join(binDir, "boltseal-nri"))
	if err != nil {
		t.Fatal(err)
	}
	parents := map[int]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || !os.SameFile(info, program) {
			continue // or it has ended
		}
		stat, err := os.ReadFile(filepath.Join(filepath.Dir(file), "stat"))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		parent, err2 := strconv.Atoi(fields[1])
		if err = errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		parents[pid] = parent
	}
	return parents
}

// onePlugin waits until there is one plugin with one standby, and returns the process
// of the plugin and that of the standby.
func onePlugin(t *testing.T) (plugin, standby int) {
	t.Helper()
	wait(t, "there is a plugin with a standby", func() error {
		all := plugins(t)
		for pid, parent := range all {
			if _, is := all[parent]; is {
				plugin, standby = parent, pid
			}
		}
		if _, is := all[plugin]; !is || len(all) != 2 {
			return fmt.Errorf("there are %v", all)
		}
		return nil
	})
	return plugin, standby
}

// end kills a process and waits until it has ended.
func end(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wait(t, "the process has ended", func() error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			return fmt.Errorf("it is there: %s", stat)
		}
		return nil
	})
}

func (c *crd) pause(t *testing.T, id string) testenv.Result {
	t.Helper()
	return run(t, "ctr", "--namespace", "k8s.io", "task", "pause", id)
}

func (c *crd) unpause(t *testing.T, id string) testenv.Result {
	t.Helper()
	return run(t, "ctr", "--namespace", "k8s.io", "task", "resume", id)
}
