// SPDX-License-Identifier: Apache-2.0

package main

import "strings"

// traits are what sets runtimes apart over NRI.
type traits struct {
	// hooks: it adds the OCI hooks that a plugin asks for.
	hooks bool
	// paths: a container that it creates has a cgroup path, and it says when one
	// starts. Without both there is nothing to announce, and no start to refuse.
	paths bool
	// pods: its pods are pods, and not one for each container.
	pods bool
	// early: it tells of a sandbox before the pause program runs.
	early bool
}

// traitsOf is what is known of a runtime by the name and version that it gives
// itself. One that is not known is taken to do what NRI says.
func traitsOf(name, version string) traits {
	t := traits{hooks: true, paths: true, pods: true}
	switch name {
	case "docker":
		// From 29 on; of a plugin's adjustments it takes environment and mounts,
		// and drops the rest in silence.
		return traits{}
	case "containerd":
		// 2.0 moved the event behind the start of the sandbox.
		t.early = strings.HasPrefix(strings.TrimPrefix(version, "v"), "1.")
	}
	return t
}
