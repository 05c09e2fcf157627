// SPDX-License-Identifier: Apache-2.0

//go:build linux

package runtimes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// TestDoctor has boltseal doctor prove podman, crun and containerd, which are told of
// the hook as their administrators would.
func TestDoctor(t *testing.T) {
	agentenv.Require(t)
	requireContainerd(t)
	testenv.Require(t, inLab("podman", podmanHere))
	agent := agentenv.Start(t, testenv.AgentOptions{})
	hook := agent.Hook(t)
	c := startContainerd(t)
	plugin := startPlugin(t, c, hook)
	podman := newPodman(t)
	podman.install(t, hook)

	cmd := exec.CommandContext(t.Context(), testenv.Binary(t, "./agent/cmd/boltseal"), "doctor", "-o", "json",
		"--server-address", agent.Address, "--hook", hook.Binary, "--hook-config", hook.Config,
		"--runtime", "podman,crun,containerd", "--cri-socket", filepath.Join(c.dir, "c.sock"))
	cmd.Env = append(os.Environ(), "PATH="+podman.onPath(t)+":"+os.Getenv("PATH"), "TMPDIR="+testenv.Dir(t))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("boltseal doctor: %v: %s\n%s\n%s", err, &stderr, out, plugin.Log())
	}
	t.Logf("%s", out)
	var report struct {
		Checks []struct{ Check, Verdict, Found string }
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	denies := "not proven"
	if slices.ContainsFunc(agent.Status(t).GetFeatures(), func(f *boltseal.Feature) bool {
		return (f.GetName() == "lsm" || f.GetName() == "fmodret") && f.GetState() == boltseal.FeatureState_FEATURE_STATE_AVAILABLE
	}) {
		denies = "ok"
	}
	for _, runtime := range []string{"podman", "crun", "containerd"} {
		away := "ok"
		if runtime == "containerd" {
			away = "not proven"
		}
		for what, want := range map[string]string{"": "ok", " sealed": "ok", " kills": "ok", " denies": denies, " agent away": away} {
			got := slices.ContainsFunc(report.Checks, func(c struct{ Check, Verdict, Found string }) bool {
				return c.Check == runtime+what && c.Verdict == want
			})
			if !got {
				t.Errorf("%s%s is not %q", runtime, what, want)
			}
		}
	}
	testenv.Eventually(t, patience, "podman has cleaned up", podman.quiet)
	if left := podman.do(t.Context(), "ps", "--all", "--quiet"); left.Code != 0 || left.Stdout != "" {
		t.Errorf("containers left: %s", left)
	}
	images, err := exec.Command("ctr", "--address", filepath.Join(c.dir, "c.sock"), "--namespace", "k8s.io", "images", "ls", "--quiet").Output()
	if err != nil || strings.Contains(string(images), "boltseal-doctor") {
		t.Errorf("images left: %v: %s", err, images)
	}
	policies, err := agent.Tetragon.ListTracingPolicies(t.Context(), nil)
	if err != nil || len(policies.GetPolicies()) > 0 {
		t.Errorf("policies left: %v: %v", err, policies)
	}
}

// onPath makes a podman that is this one, for commands that know podman by its name.
func (p *pods) onPath(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("podman")
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(p.dir, name) }
	conf := fmt.Sprintf("[engine]\nlock_type = \"file\"\nhooks_dir = [%q]\n", at("hooks.d"))
	script := fmt.Sprintf(`#!/bin/sh
export HOME='%[1]s' CONTAINERS_CONF='%[1]s/doctor.conf' CONTAINERS_STORAGE_CONF='%[1]s/storage.conf'
n=$#
while [ $n -gt 0 ]; do
	word=$1; shift; n=$((n - 1)); set -- "$@" "$word"
	[ "$word" != run ] || set -- "$@" --cgroup-parent '%[2]s' --cgroups=no-conmon
done
exec %[3]s --root '%[1]s/root' --runroot '%[1]s/runroot' --tmpdir '%[1]s/tmp' --volumepath '%[1]s/volumes' \
	--network-config-dir '%[1]s/networks' --storage-driver=vfs --cgroup-manager=cgroupfs --events-backend=none \
	--runtime '%[1]s/crun' "$@"
`, p.dir, p.parent, program)
	bin := at("bin")
	err = errors.Join(os.Mkdir(bin, 0o755), os.WriteFile(at("doctor.conf"), []byte(conf), 0o600),
		os.WriteFile(filepath.Join(bin, "podman"), []byte(script), 0o700))
	if err != nil {
		t.Fatal(err)
	}
	return bin
}
