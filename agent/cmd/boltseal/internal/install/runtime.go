// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/install/jsonedit"
)

// Settings is what a runtime is registered with.
type Settings struct {
	// Config is its configuration file; empty for where it is by default.
	Config string `json:"config,omitempty"`
	// Wrapper has containerd call its low-level runtimes through boltseal, so that
	// pause containers are covered too.
	Wrapper bool `json:"wrapper,omitempty"`
	// BaseSpec has containerd add the hook to all specs that it makes from a base.
	BaseSpec bool `json:"base_spec,omitempty"`
}

// engine is one kind of container runtime.
type engine interface {
	name() string
	// find tells whether it is there, and its program, if that is.
	find(*host) (program string, present bool)
	// draft writes what registers boltseal with it. how is that in words.
	draft(ctx context.Context, h *host, d *draft, s Settings) (how string, err error)
	// check has the runtime itself look at its files as they are now.
	check(ctx context.Context, h *host, s Settings) error
	// reload makes the runtime read its files, and tells what it did or what is left
	// to do.
	reload(ctx context.Context, h *host) string
}

func engines() []engine { return []engine{docker{}, containerd{}, podman{}, crio{}} }

// Runtimes is the names of the runtimes that are known.
func Runtimes() []string {
	var names []string
	for _, e := range engines() {
		names = append(names, e.name())
	}
	return names
}

// selected returns the engines with the names, all for none.
func selected(names []string) ([]engine, error) {
	for _, name := range names {
		if !slices.Contains(Runtimes(), name) {
			return nil, fmt.Errorf("runtime %q is not known: must be one of %v", name, Runtimes())
		}
	}
	var out []engine
	for _, e := range engines() {
		if len(names) == 0 || slices.Contains(names, e.name()) {
			out = append(out, e)
		}
	}
	return out, nil
}

// wrapper drafts the name under which boltseal-hook stands for a low-level
// runtime, and returns it. real is the runtime's path or its name.
func (h *host) wrapper(d *draft, runtime, real string) (string, error) {
	base := path.Base(real)
	name := path.Join(h.binDir, "boltseal-"+base)
	if "boltseal-"+base == hookName || "boltseal-"+base == pluginName {
		return "", fmt.Errorf("runtime %s: a wrapper of it would be called as %s is", real, name)
	}
	if err := d.link(runtime, name, hookName); err != nil {
		return "", err
	}
	// The wrapper looks for the name in PATH, unless it is told better.
	found := h.look(base)
	if !path.IsAbs(real) || real == found || found != "" && h.same(real, found) {
		return name, nil
	}
	return name, d.set(runtime, settingsFile, formatJSON, real, "runtimes", "boltseal-"+base, "path")
}

// bundles are patterns of the directories in which containerd's shims, Docker's too, keep
// running containers where these keep their state by default.
func bundles() []string {
	return []string{"/run/containerd/io.containerd.runtime.v2.task/*/*", "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/*/*"}
}

// runningBy counts running containers by the wrapper that their shims call, and will call
// until they have ended.
func (h *host) runningBy(wrappers []string) (map[string]int, error) {
	counts := map[string]int{}
	for _, pattern := range bundles() {
		files, err := h.disk.matches(path.Join(pattern, "runtime"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			program, err := os.ReadFile(file)
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may have ended
				return nil, fmt.Errorf("find containers that run by wrappers: %w", err)
			}
			if slices.Contains(wrappers, string(program)) {
				counts[string(program)]++
			}
		}
	}
	return counts, nil
}

// hookTimes is how long the hook takes at most, and what a runtime gives it more.
const (
	hookDeadline = 2 * time.Second
	hookMargin   = 2 * time.Second
)

// hookSeconds is how long runtimes give the hook, which ends by itself before.
func (h *host) hookSeconds(d *draft) (int, error) {
	text, err := d.text(settingsFile)
	if err != nil {
		return 0, err
	}
	deadline := hookDeadline
	raw, found, err := jsonedit.Get(text, "deadline")
	if err != nil {
		return 0, fmt.Errorf("%s: %w", settingsFile, err)
	}
	if found {
		var value string
		if err := json.Unmarshal(raw, &value); err != nil {
			return 0, fmt.Errorf("%s: deadline: %w", settingsFile, err)
		}
		if deadline, err = time.ParseDuration(value); err != nil {
			return 0, fmt.Errorf("%s: deadline: %w", settingsFile, err)
		}
	}
	return int((deadline + hookMargin + time.Second - 1) / time.Second), nil
}

// ociHook is a hook as the OCI's runtime specification has it.
type ociHook struct {
	Path    string   `json:"path"`
	Args    []string `json:"args"`
	Timeout int      `json:"timeout"`
}

func (h *host) ociHook(d *draft) (ociHook, error) {
	seconds, err := h.hookSeconds(d)
	return ociHook{Path: h.hook(), Args: []string{hookName, "createRuntime"}, Timeout: seconds}, err
}

// hooksDirFile is the name of our file in directories of hooks.
const hooksDirFile = "10-boltseal.json"

// defaultHooksDir is the one that Podman and CRI-O read unless they are told otherwise:
// since Podman 4 that in /etc is not read by itself.
const defaultHooksDir = "/usr/share/containers/oci/hooks.d"

// envProgram runs what its arguments name.
const envProgram = "/usr/bin/env"

// hooksFile drafts the file that has Podman and CRI-O run the hook for every
// container: oci-hooks(5), version 1.0.0. Podman leaves out all hooks when the program
// of one is missing, and starts the container; env is there, and fails instead.
func (h *host) hooksFile(d *draft, runtime, dir string) error {
	hook, err := h.ociHook(d)
	if err != nil {
		return err
	}
	if h.executable(envProgram) {
		hook.Args = append([]string{"env", hook.Path}, hook.Args[1:]...)
		hook.Path = envProgram
	} else {
		d.note("%s: without %s containers start unsealed when %s is missing", runtime, envProgram, hook.Path)
	}
	if err := h.noteOthers(d, runtime, dir); err != nil {
		return err
	}
	text, err := json.MarshalIndent(struct {
		Version string          `json:"version"`
		Hook    ociHook         `json:"hook"`
		When    map[string]bool `json:"when"`
		Stages  []string        `json:"stages"`
	}{"1.0.0", hook, map[string]bool{"always": true}, []string{"createRuntime"}}, "", "  ")
	if err != nil {
		return err
	}
	return d.file(runtime, path.Join(dir, hooksDirFile), append(text, '\n'), 0o644)
}

// noteOthers tells of files in the directory that run the hook as well.
func (h *host) noteOthers(d *draft, runtime, dir string) error {
	files, err := h.disk.glob(path.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := d.text(file)
		if err != nil {
			return err
		}
		if path.Base(file) != hooksDirFile && bytes.Contains(text, []byte(hookName)) {
			d.note("%s: %s runs the hook too: remove it, so that it runs once", runtime, file)
		}
	}
	return nil
}

// pluginDir is where runtimes look for NRI plugins to start.
const pluginDir = "/opt/nri/plugins"

// plugin drafts the NRI plugin that the runtime starts itself. The number is its
// place among plugins.
func (h *host) plugin(d *draft, runtime, dir string) error {
	name, program := path.Join(dir, "90-boltseal"), path.Join(h.binDir, pluginName)
	if h.hook() == "/usr/local/bin/"+hookName { // what the plugin adds unless it is told otherwise
		return d.link(runtime, name, program)
	}
	script := fmt.Sprintf("#!/bin/sh\nexec '%s' --hook '%s'\n", program, h.hook())
	return d.file(runtime, name, []byte(script), 0o755)
}
