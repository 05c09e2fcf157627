// SPDX-License-Identifier: Apache-2.0

// Package agentenv gives tests a running agent with clients of its API, and the
// OCI hooks that tell it of containers. It stands on package testenv, which
// knows processes and containers and nothing of the API.
//
// Several agents may run on one machine, and each sees the containers of all. A
// test therefore never adds a policy for the host or for every container: its
// policies select a [Mark] of its own.
package agentenv
