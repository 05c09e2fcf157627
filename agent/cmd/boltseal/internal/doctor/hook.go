// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/doctor/canary"
	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/settings"
)

const (
	// hookTime is how long the hook may take to tell its version.
	hookTime = 10 * time.Second
	// hookSlack is how much longer than its own deadline a runtime bears the hook.
	hookSlack = 5 * time.Second
)

// hook is boltseal-hook and what it goes by.
type hook struct {
	path, config string
	settings     settings.Settings
}

func (r *run) lookAtHook(ctx context.Context) {
	version, f := r.hookVersion(ctx)
	if f != nil {
		r.tell("hook", *f)
	} else {
		r.tell("hook", ok("%s", r.Hook))
		r.tell("hook version", r.sameVersion("the hook", version, "see that "+r.Hook+" is the new one"))
	}
	s, err := settings.Load(r.HookConfig, settings.File{})
	if err != nil {
		r.tell("hook settings", fail("%v", err).but("mend the file: until then the hook blocks every container"))
		return
	}
	if f == nil {
		r.hook = &hook{r.Hook, r.HookConfig, s}
	}
	r.tell("hook settings", r.address(s))
	r.tell("hook fail policy", failPolicy(s))
	r.tell("hook spool", spool(s))
}

// hookVersion runs the hook; a finding tells that it cannot be run.
func (r *run) hookVersion(ctx context.Context) (string, *finding) {
	const install = "install it with make install, or name it with --hook"
	bad := func(format string, args ...any) (string, *finding) {
		f := fail(format, args...).but(install)
		return "", &f
	}
	info, err := os.Stat(r.Hook)
	switch {
	case err != nil:
		return bad("%v", err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return bad("%s is no program", r.Hook)
	}
	if f := exclusive(r.Hook, info); f != nil {
		f.do = "make it root's: it is run as root for every container"
		return "", f
	}
	ctx, cancel := context.WithTimeout(ctx, hookTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.Hook, "version")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if ctx.Err() != nil {
		err = fmt.Errorf("no answer within %s", hookTime)
	}
	if err != nil {
		return bad("%s version: %v", r.Hook, err)
	}
	version, ours := strings.CutPrefix(strings.TrimSpace(string(out)), "boltseal-hook ")
	if !ours {
		return bad("%s is not boltseal-hook: it calls itself %.40q", r.Hook, out)
	}
	return version, nil
}

// address compares whom the hook asks with whom this program does.
func (r *run) address(s settings.Settings) finding {
	if s.Address != r.Address {
		return fail("the hook asks the agent at %s, and this program the one at %s", s.Address, r.Address).
			but("set address in %s, or name the socket with --server-address", r.configFile())
	}
	return ok("%s: asks %s within %s", r.configFile(), s.Address, s.Deadline)
}

func (r *run) configFile() string {
	if r.HookConfig != "" {
		return r.HookConfig
	}
	if _, err := os.Stat(settings.DefaultFile); errors.Is(err, fs.ErrNotExist) {
		return "defaults, no " + settings.DefaultFile
	}
	return settings.DefaultFile
}

// failPolicy says in words what becomes of containers without an answer.
func failPolicy(s settings.Settings) finding {
	words := map[agentclient.Answer]string{
		agentclient.Block: "does not start", agentclient.Quarantine: "does not start (quarantine acts as block)",
		agentclient.Allow: "starts unsealed, and is sealed late",
	}
	p := s.FailPolicy
	answer := p.Default
	if answer == "" {
		answer = agentclient.Block
	}
	text := "without an agent a container " + words[answer]
	open := answer == agentclient.Allow
	if p.NotSinceBoot != "" && p.NotSinceBoot != answer {
		text += ", and " + words[p.NotSinceBoot] + " until the agent has been up since boot"
		open = open || p.NotSinceBoot == agentclient.Allow
	}
	allowing := 0
	for _, rule := range p.Rules {
		if rule.Policy == agentclient.Allow {
			allowing++
		}
	}
	if n := len(p.Rules); n > 0 {
		text += fmt.Sprintf("; %d of %d rules let the containers that they match start", allowing, n)
	}
	if open {
		return warn("%s", text).but("set fail_policy.default to block where unsealed containers must not run")
	}
	return ok("%s", text)
}

// spool judges where containers are written down that started without the agent.
func spool(s settings.Settings) finding {
	info, err := os.Lstat(s.SpoolDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ok("%s is made when it is needed", s.SpoolDir)
	case err != nil:
		return fail("%v", err)
	case !info.IsDir():
		return fail("%s is no directory", s.SpoolDir).but("remove it")
	}
	if f := exclusive(s.SpoolDir, info); f != nil {
		return f.but("chown root: %[1]s && chmod 0700 %[1]s", s.SpoolDir)
	}
	waiting, err := filepath.Glob(filepath.Join(s.SpoolDir, "*.pb"))
	if err != nil {
		return notProven("%v", err)
	}
	if n := len(waiting); n > 0 {
		return warn("%s: %d containers started unsealed, and no agent has taken them in yet", s.SpoolDir, n).
			but("start boltseald, or see in its log why it does not take them")
	}
	return ok("%s is empty", s.SpoolDir)
}

// oci is the hook as a bundle has it.
func (h *hook) oci(config string) *canary.Hook {
	args := []string{"boltseal-hook", "createRuntime"}
	if config != "" {
		args = append(args, "--config", config)
	}
	return &canary.Hook{Path: h.path, Args: args, Timeout: int((h.settings.Deadline + hookSlack) / time.Second)}
}

// deaf is the hook with its own settings, but for the agent's socket, which is one
// that does not exist, and for where it writes: to log too.
func (h *hook) deaf(dir string) (oci *canary.Hook, log string, err error) {
	log = filepath.Join(dir, "no-agent.log")
	text, err := json.Marshal(settings.File{
		Address: "unix://" + filepath.Join(dir, "no-agent.sock"), Deadline: h.settings.Deadline.String(),
		LogFile: log, SpoolDir: filepath.Join(dir, "spool"), BootedFile: h.settings.BootedFile, FailPolicy: h.settings.FailPolicy,
	})
	file := filepath.Join(dir, "no-agent.json")
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	return h.oci(file), log, err
}

// refusal is the hook's line about a container that it did not let start, in its log
// or in what the runtime said; empty: it did not refuse. crun tells nobody what hooks
// write, and others cut it short.
func refusal(log, said string) string {
	text, _ := os.ReadFile(log) // there is none when the hook did not run
	for line := range strings.Lines(string(text)) {
		var entry struct{ Decision, Reason string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Decision == "block" {
			return entry.Reason
		}
	}
	if strings.Contains(said, "boltseal-hook: container") {
		return said
	}
	return ""
}
