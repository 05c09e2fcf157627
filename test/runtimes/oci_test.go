// SPDX-License-Identifier: Apache-2.0

//go:build linux

package runtimes

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// runc starts containers with runc, whose bundles have the hook.
func runc(t *testing.T, agent *agentenv.Agent) { proveOCI(t, agent, testenv.NewRunc(t)) }

// crun starts containers with crun, which makes processes right in their cgroup
// and never moves any there.
func crun(t *testing.T, agent *agentenv.Agent) {
	runtime := testenv.NewRunc(t) // what these tests say to runc, crun understands
	runtime.Path = "crun"
	testenv.Require(t, inLab("crun", func() error { return starts(t, runtime) }))
	proveOCI(t, agent, runtime)
}

// starts tries whether a runtime can start anything here: crun refuses hosts on
// which controllers are mixed between the two versions of cgroups.
func starts(t *testing.T, runtime *testenv.Runc) error {
	t.Helper()
	if _, err := exec.LookPath(runtime.Path); err != nil {
		return err
	}
	result := runtime.Run(t.Context(), testenv.Bundle(t, testenv.Spec{}))
	if result.Code != 0 {
		return errors.Join(fmt.Errorf("exit status %d: %s", result.Code, strings.TrimSpace(result.Stderr)), result.Err)
	}
	return nil
}

// proveOCI proves a runtime that is called without an engine above it.
func proveOCI(t *testing.T, agent *agentenv.Agent, runtime *testenv.Runc) {
	t.Helper()
	prove(t, agent, func(t *testing.T, hook *agentenv.Hook, mark, shared string, args []string) *run {
		t.Helper()
		c := testenv.Bundle(t, testenv.Spec{
			Args: args, Annotations: agentenv.Marked(mark), Hooks: hook.OCI(),
			Mounts: []specs.Mount{{Destination: "/tmp", Type: "bind", Source: shared, Options: []string{"rbind", "rw"}}},
		})
		return background(t, c.ID, func() testenv.Result { return runtime.Run(t.Context(), c) })
	})
}
