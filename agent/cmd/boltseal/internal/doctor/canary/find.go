// SPDX-License-Identifier: Apache-2.0

package canary

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// Sockets are where runtimes of Kubernetes listen by default.
func Sockets() []string { return []string{"/run/containerd/containerd.sock", "/run/crio/crio.sock"} }

// Find lists the runtimes of this host, by the programs in $PATH and the sockets
// that are there.
func Find(sockets []string) []Runtime {
	var found []Runtime
	for _, name := range []string{"runc", "crun"} {
		if path := installed(name); path != "" {
			found = append(found, OCI{Program: name, Path: path})
		}
	}
	if path := installed("podman"); path != "" {
		found = append(found, Podman{Path: path})
	}
	if path := installed("docker"); path != "" {
		found = append(found, Docker{Path: path})
	}
	for _, socket := range sockets {
		info, err := os.Stat(socket)
		if err != nil || info.Mode().Type() != os.ModeSocket {
			continue
		}
		if filepath.Base(socket) == "crio.sock" {
			found = append(found, CRI{Program: "cri-o", Socket: socket})
		} else {
			found = append(found, CRI{Program: "containerd", Socket: socket, Ctr: installed("ctr")})
		}
	}
	return found
}

// Names are those that runtimes can have.
func Names() []string { return []string{"runc", "crun", "podman", "docker", "containerd", "cri-o"} }

// Known tells whether a runtime can have the name.
func Known(name string) bool { return slices.Contains(Names(), name) }

// installed is where a program of the host is; empty: nowhere.
func installed(name string) string {
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return ""
	}
	return path
}
