// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/install/tomledit"
)

// podman reads hooks from directories for every container that it starts.
type podman struct{}

func (podman) name() string { return "podman" }

func (podman) find(h *host) (string, bool) {
	program := h.look("podman")
	return program, program != ""
}

func (e podman) draft(_ context.Context, h *host, d *draft, s Settings) (string, error) {
	files := []string{"/usr/share/containers/containers.conf", "/etc/containers/containers.conf"}
	for _, dir := range []string{"/usr/share/containers/containers.conf.d", "/etc/containers/containers.conf.d"} {
		more, err := h.disk.glob(dir + "/*.conf")
		if err != nil {
			return "", err
		}
		files = append(files, more...)
	}
	if s.Config != "" {
		files = []string{s.Config}
	}
	dirs, _, err := lastList(d, files, "engine", "hooks_dir")
	if err != nil {
		return "", err
	}
	// Of several directories the last goes first.
	dir := defaultHooksDir
	if len(dirs) > 0 {
		dir = dirs[len(dirs)-1]
	}
	return "hook in " + dir, h.hooksFile(d, e.name(), dir)
}

func (podman) check(context.Context, *host, Settings) error { return nil }

func (podman) reload(context.Context, *host) string {
	return "nothing to reload: podman reads it for each container"
}

// lastList returns the list of strings that the last of the TOML files sets, and
// which file that is; empty for none.
func lastList(d *draft, files []string, keys ...string) (list []string, from string, err error) {
	for _, file := range files {
		text, err := d.text(file)
		if err != nil {
			return nil, "", err
		}
		tree, err := tomledit.Parse(text)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", file, err)
		}
		value, found := tomledit.Get(tree, keys...)
		if !found {
			continue
		}
		items, ok := value.([]any)
		if !ok {
			return nil, "", fmt.Errorf("%s: %v: must be a list", file, keys)
		}
		list, from = nil, file
		for _, item := range items {
			// {append=true} of Podman 5 is about how lists of several files are joined.
			if s, ok := item.(string); ok {
				list = append(list, s)
			}
		}
	}
	return list, from, nil
}

func decodeFile(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
