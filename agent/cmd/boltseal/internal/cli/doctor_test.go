// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/install"
)

// TestRegistrations has doctor told of runtimes what their files say.
func TestRegistrations(t *testing.T) {
	t.Parallel()
	r := registrations{binDir: "/b", root: t.TempDir()}
	for _, name := range []string{"/b/boltseal-hook", "/b/boltseal-nri", "/usr/bin/podman", "/usr/bin/crio"} {
		path := filepath.Join(r.root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	check := func(runtime string, registered bool, how, do string) {
		t.Helper()
		is, err := r.Registration(t.Context(), runtime)
		if err != nil || is.Registered != registered || !strings.Contains(is.How, how) || !strings.Contains(is.Do, do) {
			t.Errorf("%s: %+v, %v", runtime, is, err)
		}
	}
	check("podman", false, "is not registered", "boltseal hook install --runtime podman")
	if _, err := install.Install(t.Context(), install.Options{Root: r.root, BinDir: r.binDir}); err != nil {
		t.Fatal(err)
	}
	check("podman", true, "hook in ", "")
	check("cri-o", true, "NRI plugin", "")
	if err := os.Remove(filepath.Join(r.root, "/opt/nri/plugins/90-boltseal")); err != nil {
		t.Fatal(err)
	}
	check("cri-o", false, "in part", "boltseal hook install --runtime crio")
	conf := filepath.Join(r.root, "/etc/containers/containers.conf")
	if err := os.MkdirAll(filepath.Dir(conf), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte("engine ="), 0o600); err != nil {
		t.Fatal(err)
	}
	if is, err := r.Registration(t.Context(), "podman"); err == nil {
		t.Errorf("of a file that cannot be read: %+v", is)
	}
}
