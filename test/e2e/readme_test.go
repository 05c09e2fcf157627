// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// sources is the top of the repository, seen from this package.
const sources = "../.."

// readme returns the fenced blocks of README.md by the comment that stands right
// before each: it says what the tests do with the block.
func readme(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(sources, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string]string{}
	lines := strings.Split(string(text), "\n")
	for i := 0; i < len(lines); i++ {
		if !strings.HasPrefix(lines[i], "```") {
			continue
		}
		end := slices.Index(lines[i+1:], "```")
		if i == 0 || end < 0 {
			t.Fatalf("README.md:%d: a block without begin or end", i+1)
		}
		mark := regexp.MustCompile(`^<!-- (.+) -->$`).FindStringSubmatch(lines[i-1])
		if mark == nil {
			t.Fatalf("README.md:%d: no comment before the block says what tests it", i+1)
		}
		if _, twice := blocks[mark[1]]; twice {
			t.Fatalf("README.md:%d: %q is there twice", i+1, mark[1])
		}
		blocks[mark[1]] = strings.Join(lines[i+1:i+1+end], "\n") + "\n"
		i += end + 1
	}
	return blocks
}

// block returns a block and fails when it is not there.
func block(t *testing.T, mark string) string {
	t.Helper()
	text, ok := readme(t)[mark]
	if !ok || strings.TrimSpace(text) == "" {
		t.Fatalf("README.md has no block that is %q", mark)
	}
	return text
}

// TestReadmeBlocksAreTested: a block that nobody runs is wrong sooner or later.
func TestReadmeBlocksAreTested(t *testing.T) {
	t.Parallel()
	known := []string{"run by .ci/run", "also run by .ci/run", "written by hook install", "run in order", "run until interrupted", "run without an agent", "merged into a bundle that is run", "checked", "also checked", "given to an agent by TestExports"}
	for mark := range readme(t) {
		if !slices.Contains(known, mark) && !strings.HasPrefix(mark, "not run: ") {
			t.Errorf("README.md has a block that is %q; tests know: %s", mark, strings.Join(known, ", "))
		}
	}
}

// TestReadmeMake: continuous integration runs these commands themselves.
func TestReadmeMake(t *testing.T) {
	t.Parallel()
	ci, err := os.ReadFile(filepath.Join(sources, ".ci/run"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(block(t, "run by .ci/run") + block(t, "also run by .ci/run")) {
		if !strings.Contains(string(ci), "\nstep "+strings.TrimSpace(line)+"\n") {
			t.Errorf(".ci/run does not run %q", line)
		}
	}
}

// TestReadmeOffline runs the commands that need no agent of the reader's.
func TestReadmeOffline(t *testing.T) {
	agentenv.Require(t)
	bin := filepath.Dir(testenv.Binary(t, "./agent/cmd/boltseal"))
	for line := range strings.Lines(block(t, "run without an agent")) {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
		cmd.Dir = sources
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", strings.TrimSpace(line), err, out)
		}
	}
}

func TestReadmePolicy(t *testing.T) {
	t.Parallel()
	for _, mark := range []string{"checked", "also checked"} {
		cmd := exec.CommandContext(t.Context(), testenv.Binary(t, "./agent/cmd/boltseal"), "policy", "check", "-")
		cmd.Stdin = strings.NewReader(block(t, mark))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("the policy in README.md that is %q: %v\n%s", mark, err, out)
		}
	}
}

// TestReadmeBundle starts a container with what README.md says to add to its
// config.json, under the policy that its annotation names.
func TestReadmeBundle(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	var added struct {
		Annotations map[string]string `json:"annotations"`
		Hooks       *specs.Hooks      `json:"hooks"`
	}
	decoder := json.NewDecoder(strings.NewReader(block(t, "merged into a bundle that is run")))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&added); err != nil {
		t.Fatal(err)
	}
	agent := agentenv.Start(t, testenv.AgentOptions{})
	name := added.Annotations["boltseal.policy"]
	text, err := os.ReadFile(filepath.Join(sources, "policies", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	agent.Policy(t, string(text))

	// The text is for an installed hook and the default socket.
	hook := agent.Hook(t)
	entry := &added.Hooks.CreateRuntime[0]
	if filepath.Base(entry.Path) != "boltseal-hook" {
		t.Fatalf("the hook is %s", entry.Path)
	}
	entry.Path = hook.Binary
	entry.Args = append(entry.Args, "--config", hook.Config)
	runc := testenv.NewRunc(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := testenv.Bundle(t, testenv.Spec{
		Args: []string{"/bin/cat", "/etc/shadow"}, Annotations: added.Annotations, Hooks: added.Hooks,
	})
	if r := runc.Run(ctx, c); r.Code != 128+int(unix.SIGKILL) || strings.Contains(r.Stdout, testenv.Secret) {
		t.Errorf("not killed: %s", r)
	}
	// The same without the annotation: what killed it was the policy.
	free := testenv.Bundle(t, testenv.Spec{Args: []string{"/bin/cat", "/etc/shadow"}, Hooks: added.Hooks})
	if r := runc.Run(ctx, free); r.Code != 0 || !strings.Contains(r.Stdout, testenv.Secret) {
		t.Errorf("not let through: %s", r)
	}
}

// TestReadmeCommands runs the command lines one by one, as they stand there.
func TestReadmeCommands(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	command := func(line string) (*exec.Cmd, *bytes.Buffer) {
		var out bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", "exec "+line)
		cmd.Dir = sources
		cmd.Env = append(os.Environ(), "BOLTSEAL_SERVER_ADDRESS="+agent.Address,
			"PATH="+filepath.Dir(testenv.Binary(t, "./agent/cmd/boltseal"))+":"+os.Getenv("PATH"))
		cmd.Stdout, cmd.Stderr = &out, &out
		return cmd, &out
	}
	for line := range strings.Lines(block(t, "run in order")) {
		cmd, out := command(line)
		if err := cmd.Run(); err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		// There are no containers, which is said.
		if out.Len() == 0 {
			t.Errorf("%s: nothing is written", line)
		}
	}
	for line := range strings.Lines(block(t, "run until interrupted")) {
		cmd, out := command(line)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			t.Errorf("%s: ended by itself: %v\n%s", line, err, out)
			continue
		case <-time.After(500 * time.Millisecond):
		}
		_ = cmd.Process.Signal(unix.SIGINT)
		<-ended
		if got, want := cmd.ProcessState.String(), fmt.Sprintf("exit status %d", 128+int(unix.SIGINT)); got != want {
			t.Errorf("%s: interrupted: %s, want %s\n%s", line, got, want, out)
		}
	}
}

// TestReadmeHooksFile holds that hook install writes the file for hooks directories that
// README.md shows.
func TestReadmeHooksFile(t *testing.T) {
	t.Parallel()
	root := testenv.Dir(t)
	for _, program := range []string{"/usr/bin/env", "/usr/bin/podman", "/usr/local/bin/boltseal-hook", "/usr/local/bin/boltseal-nri"} {
		path := filepath.Join(root, program)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), testenv.Binary(t, "./agent/cmd/boltseal"), "hook", "install", "--root", root, "--runtime", "podman").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(root, "usr/share/containers/oci/hooks.d/10-boltseal.json"))
	var written, shown any
	if err = errors.Join(err, json.Unmarshal(text, &written), json.Unmarshal([]byte(block(t, "written by hook install")), &shown)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(written, shown) {
		t.Errorf("written: %s", text)
	}
}
