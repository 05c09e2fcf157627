// SPDX-License-Identifier: Apache-2.0

package demo

import _ "embed"

//go:embed policy.yaml
var policyText string

const (
	policyName = "demo-no-shadow-read"
	// policyKey is the annotation by which a container asks for a policy.
	policyKey = "boltseal.policy"

	// What is in the files that the containers read.
	hostnameText = "boltseal-demo\n"
	shadowText   = "root:not-a-real-secret:1::::::\n"
)

// The two acts: one that no policy forbids, and one that the policy does.
const (
	untouchedFile = "/etc/hostname"
	forbiddenFile = "/etc/shadow"
)

// openPolicy is the part of the policy for the system call open, which newer
// architectures do not have.
const openPolicy = `  - subsystem: syscalls
    event: sys_enter_open
    message: opens /etc/shadow
    args:
    - {index: 5, type: string, label: filename}
    selectors: *kill
`

// policyFor is the policy's text on an architecture.
func policyFor(goarch string) string {
	if goarch == "amd64" {
		return policyText + openPolicy
	}
	return policyText
}
