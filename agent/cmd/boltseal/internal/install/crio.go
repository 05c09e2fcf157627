// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/install/tomledit"
)

// crio reads hooks from directories, and starts NRI plugins. Files of its drop-in
// directory are read in the order of their names after crio.conf; what a later
// one sets, lists too, replaces what an earlier one has.
type crio struct{}

const (
	crioConfig = "/etc/crio/crio.conf"
	crioDropIn = "/etc/crio/crio.conf.d/10-boltseal.conf"
	// crioHooksDir is added to those that CRI-O reads. A file of the same name in an
	// earlier one, which may be Podman's, does not count then.
	crioHooksDir = "/etc/containers/oci/hooks.d"
)

func (crio) name() string { return "crio" }

func (crio) find(h *host) (string, bool) {
	program := h.look("crio")
	return program, program != "" || h.exists("/var/run/crio/crio.sock")
}

func (e crio) draft(_ context.Context, h *host, d *draft, s Settings) (string, error) {
	main := crioConfig
	if s.Config != "" {
		main = s.Config
	}
	files, err := h.disk.glob(path.Dir(crioDropIn) + "/*")
	if err != nil {
		return "", err
	}
	files = slices.DeleteFunc(files, func(f string) bool { return f == crioDropIn })
	files = append([]string{main}, files...)
	dirs, from, err := lastList(d, files, "crio", "runtime", "hooks_dir")
	if err != nil {
		return "", err
	}
	later := func(file string) bool { return file != main && file > crioDropIn }
	if err := nriStaysOn(d, files, later); err != nil {
		return "", err
	}
	dir := crioHooksDir
	if later(from) || slices.Contains(dirs, dir) {
		if len(dirs) == 0 {
			return "", fmt.Errorf("%s: crio.runtime.hooks_dir is empty, and read after %s: name a directory there", from, crioDropIn)
		}
		if !slices.Contains(dirs, dir) {
			dir = dirs[len(dirs)-1]
		}
	} else {
		if from == "" {
			dirs = []string{defaultHooksDir}
		}
		dirs = append(dirs, dir)
	}
	if err := h.hooksFile(d, e.name(), dir); err != nil {
		return "", err
	}
	if err := h.plugin(d, e.name(), pluginDir); err != nil {
		return "", err
	}
	var list []string
	for _, one := range dirs {
		list = append(list, fmt.Sprintf("  %q,\n", one))
	}
	text := "# Written by boltseal hook install.\n[crio.nri]\nenable_nri = true\n\n[crio.runtime]\nhooks_dir = [\n" + strings.Join(list, "") + "]\n"
	if _, err := tomledit.Parse([]byte(text)); err != nil {
		return "", fmt.Errorf("%s: %w", crioDropIn, err)
	}
	return "hook in " + dir + " and NRI plugin", d.file(e.name(), crioDropIn, []byte(text), 0o644)
}

// nriStaysOn refuses a file that turns NRI off after ours has turned it on.
func nriStaysOn(d *draft, files []string, later func(string) bool) error {
	for _, file := range files {
		text, err := d.text(file)
		if err != nil {
			return err
		}
		tree, err := tomledit.Parse(text)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if on, found := tomledit.Get(tree, "crio", "nri", "enable_nri"); found && on == false && later(file) {
			return fmt.Errorf("%s: crio.nri.enable_nri is false, and read after %s: take it out", file, crioDropIn)
		}
	}
	return nil
}

func (crio) check(context.Context, *host, Settings) error { return nil }

func (crio) reload(context.Context, *host) string {
	return "restart CRI-O: systemctl restart crio; containers that are there go on"
}
