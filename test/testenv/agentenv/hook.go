// SPDX-License-Identifier: Apache-2.0

//go:build linux

package agentenv

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/boltseal/boltseal/test/testenv"
)

// HookOptions configures boltseal-hook.
type HookOptions struct {
	// Dir is the directory of the agent that is asked, which need not be there.
	Dir string
	// Deadline is for the whole hook; 20 s if zero, which a busy machine keeps.
	Deadline time.Duration
	// FailPolicy is the default answer when the agent does not acknowledge, and
	// NotSinceBoot that for an agent that has not been up; empty: the hook's own.
	FailPolicy, NotSinceBoot string
}

// Hook is an OCI hook with its configuration on disk.
type Hook struct {
	// Binary is boltseal-hook, Config its configuration file, and Log where it
	// writes a line of JSON per run.
	Binary, Config, Log string
}

// NewHook writes a configuration for boltseal-hook.
func NewHook(tb testing.TB, options HookOptions) *Hook {
	tb.Helper()
	if options.Deadline == 0 {
		options.Deadline = 20 * time.Second
	}
	dir := testenv.Dir(tb)
	h := &Hook{
		Binary: testenv.Binary(tb, "./hook"),
		Config: filepath.Join(dir, "hook.json"),
		Log:    filepath.Join(dir, "hook.log"),
	}
	policy := map[string]string{}
	for key, value := range map[string]string{"default": options.FailPolicy, "not_since_boot": options.NotSinceBoot} {
		if value != "" {
			policy[key] = value
		}
	}
	text, err := json.Marshal(map[string]any{
		"address":     "unix://" + filepath.Join(options.Dir, "boltseal.sock"),
		"spool_dir":   filepath.Join(options.Dir, "spool"),
		"booted_file": filepath.Join(options.Dir, "booted"),
		"deadline":    options.Deadline.String(),
		"log_file":    h.Log,
		"fail_policy": policy,
	})
	if err == nil {
		err = os.WriteFile(h.Config, text, 0o600)
	}
	if err != nil {
		tb.Fatalf("agentenv: configure the hook: %v", err)
	}
	return h
}

// Hook configures boltseal-hook for this agent, with a deadline that a busy
// machine keeps and the fail policy block.
func (a *Agent) Hook(tb testing.TB) *Hook {
	tb.Helper()
	return NewHook(tb, HookOptions{Dir: a.Dir})
}

// OCI returns the hook as config.json has it.
func (h *Hook) OCI() *specs.Hooks {
	return &specs.Hooks{CreateRuntime: []specs.Hook{{
		Path: h.Binary, Args: []string{"boltseal-hook", "createRuntime", "--config", h.Config},
	}}}
}

// Lines returns what the hook has logged so far.
func (h *Hook) Lines(tb testing.TB) string {
	tb.Helper()
	text, err := os.ReadFile(h.Log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		tb.Fatalf("agentenv: read the hook's log: %v", err)
	}
	return string(text)
}
