// SPDX-License-Identifier: Apache-2.0

// Package scenario proves policies on real containers. A scenario is a small YAML
// file: a policy, what the container is like that it is for, and cases. Each case
// has a command that triggers the policy, and the verdict that is expected:
//
//	name: no-shadow-read
//	policy: ../no-shadow-read.yaml   # below the scenario's own directory, or above
//	container:
//	  annotations: {boltseal.policy: no-shadow-read}
//	files:                           # in the container, besides busybox
//	  /etc/shadow: "root:x\n"
//	cases:
//	- name: reads it
//	  command: [cat, /etc/shadow]
//	  expect: killed                 # denied, allowed
//	  events: 1
//
// Every command is run twice, each time as the entrypoint of a container of its
// own: first without the policy, where it has to be allowed, and then with it. A
// command without a slash is one of busybox's.
//
// A container may also have labels, a name, an image, a pod (name and namespace)
// and capabilities. A case may say an errno, whose text the command has to print
// when it is denied, and the exit status that it has when it is allowed. Without
// events, a command that is killed or denied has to make one at least.
//
// A policy that the kernel cannot have is no failure: its scenario is skipped with
// the kernel's reason.
package scenario
