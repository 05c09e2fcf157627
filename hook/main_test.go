// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/bundle"
	"github.com/boltseal/boltseal/hook/settings"
)

func ok(context.Context) error { return nil }

func TestAcknowledged(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"createRuntime", "prestart"} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			agent := h.serve(ok)
			r := h.run(stage)
			r.want(t, 0, "start", "acknowledged")
			got := <-agent.requests
			if got.GetContainerID() != "abc" || got.GetInitPid() != uint32(os.Getpid()) || got.GetCgroupsPath() != "/x/abc" ||
				got.GetRootDir() != filepath.Join(h.bundle, "rootfs") || got.GetBundle() != h.bundle ||
				got.GetContainerName() != "app" || got.GetPodNamespace() != "prod" || got.GetLate() {
				t.Errorf("request %v", got)
			}
			for key, want := range map[string]any{
				"stage": stage, "container_id": "abc", "grpc_code": "OK", "address": "unix://" + h.socket,
				"level": "INFO", "late": false, "reason": "sealed",
			} {
				if r.log[key] != want {
					t.Errorf("log has %s = %v, want %v", key, r.log[key], want)
				}
			}
			if ms, ok := r.log["duration_ms"].(float64); !ok || ms <= 0 || ms > 40_000 {
				t.Errorf("duration_ms is %v", r.log["duration_ms"])
			}
			if _, err := time.Parse(time.RFC3339Nano, r.log["time"].(string)); err != nil {
				t.Error(err)
			}
			if h.spooled() != nil {
				t.Error("spooled though the agent acknowledged")
			}
		})
	}
}

func TestHundredThousandAnnotationBytesThatAreNotUTF8(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	agent := h.serve(ok)
	h.write(h.papers(), []byte(`{"linux":{},"annotations":{"k":"`+strings.Repeat("\xff", 100_000)+`"}}`))
	r := h.run("createRuntime")
	r.want(t, 0, "start", "acknowledged")
	if got := (<-agent.requests).GetAnnotations()["k"]; got != strings.Repeat("\uFFFD", 100_000) {
		t.Errorf("%d bytes of annotation", len(got))
	}
	if notes, _ := r.log["notes"].(string); !strings.Contains(notes, "UTF-8") {
		t.Errorf("notes %q", notes)
	}
}

func TestOtherStages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		stage    string
		status   int
		inStderr string
	}{
		{"poststart", 0, ""}, {"poststop", 0, ""},
		{"createContainer", 1, "register the hook for createRuntime"},
		{"startContainer", 1, "register the hook for createRuntime"},
		{"precreate", 2, `unknown stage "precreate"`}, {"CreateRuntime", 2, "unknown stage"}, {"", 2, "no stage given"},
	} {
		t.Run(c.stage, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.setPolicy(agentclient.Allow)
			agent := h.serve(ok)
			r := h.run(c.stage)
			if r.status != c.status || !strings.Contains(r.stderr, c.inStderr) || (c.inStderr == "") != (r.stderr == "") {
				t.Errorf("exit status %d, %q; want %d, %q", r.status, r.stderr, c.status, c.inStderr)
			}
			if c.status != exitUsage && (r.log["stage"] != c.stage || r.log["decision"] == nil) {
				t.Errorf("log %v", r.log)
			}
			if c.status == 0 && (r.log["container_id"] != "abc" || r.log["decision"] != "none") {
				t.Errorf("log %v, want container abc and no decision", r.log)
			}
			if len(agent.requests) != 0 || h.spooled() != nil {
				t.Error("the agent was asked, or the container spooled")
			}
		})
	}
}

func TestNothingToDoThoughStdinStaysOpen(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	r := h.exec(openPipe(t), "poststop", "--deadline", "300ms", "--log-file", h.log)
	if r.status != 0 || r.took > 5*time.Second || r.log["stage"] != "poststop" {
		t.Errorf("exit status %d after %s, log %v", r.status, r.took, r.log)
	}
}

// openPipe is standard input that never ends.
func openPipe(t *testing.T) io.Reader {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()
		r.Close()
	})
	return r
}

func TestUsage(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for _, c := range []struct {
		args   string
		status int
		stdout string
		stderr string
	}{
		{"--help", 0, "Usage: boltseal-hook", ""},
		{"createRuntime --help", 0, "Usage: boltseal-hook", ""},
		{"help", 0, "Usage: boltseal-hook", ""},
		{"version", 0, "boltseal-hook ", ""},
		{"", 2, "", "no stage given"},
		{"--nonsense createRuntime", 2, "", "nonsense"},
		{"createRuntime --nonsense", 2, "", "nonsense"},
		{"createRuntime prestart", 2, "", "one stage at a time"},
	} {
		r := h.exec(bytes.NewReader(h.state), strings.Fields(c.args)...)
		if r.status != c.status || !strings.Contains(r.stdout, c.stdout) || !strings.Contains(r.stderr, c.stderr) ||
			(c.stderr == "") != (r.stderr == "") {
			t.Errorf("%q: exit status %d, standard output %q, standard error %q", c.args, r.status, r.stdout, r.stderr)
		}
	}
}

func TestFlagsWinOverTheFile(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.config["address"] = "unix:///nonexistent/s"
	h.config["log_file"] = "/nonexistent/log"
	h.config["spool_dir"] = "/dev/null"
	h.config["deadline"] = "29s"
	h.serve(func(ctx context.Context) error {
		if deadline, _ := ctx.Deadline(); time.Until(deadline) > 25*time.Second {
			return status.Error(codes.InvalidArgument, "wrong deadline")
		}
		return nil
	})
	h.run("--address", "unix://"+h.socket, "createRuntime", "--log-file", h.log, "--deadline", "20s").
		want(t, 0, "start", "acknowledged")

	h.setPolicy(agentclient.Block)
	h.run("createRuntime", "--log-file", h.log, "--fail-policy", "allow", "--spool-dir", h.spool).
		want(t, 0, "start", "unreachable")
	if h.spooled() == nil {
		t.Error("nothing in the spool that the flag names")
	}
}

func TestLogToStandardError(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve(ok)
	h.config["log_file"] = "-"
	if r := h.run("createRuntime"); r.status != 0 || !strings.HasPrefix(r.stderr, "{") || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("exit status %d, standard error %q", r.status, r.stderr)
	}
}

func TestLogThatCanNotBeWrittenDoesNotBlock(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve(ok)
	link := filepath.Join(h.dir, "link")
	target := filepath.Join(h.dir, "elsewhere")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	for _, log := range []string{"/nonexistent/log", h.dir, fifo(t, h.dir), link} {
		h.config["log_file"] = log
		if r := h.run("createRuntime"); r.status != 0 || r.took > 15*time.Second {
			t.Errorf("%s: exit status %d after %s", log, r.status, r.took)
		}
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("the log followed a link")
	}
}

// TestGiveUp is what the watchdog does when the work is stuck behind its own
// deadline.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newHook := func() (*hook, *bytes.Buffer) {
		var stderr bytes.Buffer
		return &hook{
			stage: "createRuntime", std: streams{err: &stderr},
			config: settings.Settings{SpoolDir: filepath.Join(dir, "spool"), BootedFile: dir, FailPolicy: agentclient.FailPolicy{Default: agentclient.Allow}},
		}, &stderr
	}
	request := &bundle.Request{ID: "abc", InitPid: 7}
	const grace = 10 * time.Second

	h, stderr := newHook()
	if got := h.giveUp(grace); got != exitBlock || !strings.Contains(stderr.String(), "before the agent was asked") {
		t.Errorf("nothing asked: exit status %d, %q", got, stderr)
	}
	h, stderr = newHook()
	h.asked.Store(request)
	if got := h.giveUp(grace); got != exitStart || !strings.Contains(stderr.String(), "started unsealed") {
		t.Errorf("asked: exit status %d, %q", got, stderr)
	}
	for _, start := range []bool{true, false} {
		h, _ = newHook()
		h.asked.Store(request)
		h.decided.Store(&result{Decision: agentclient.Decision{Start: start}})
		if got := h.giveUp(grace); (got == exitStart) != start {
			t.Errorf("decided %v: exit status %d", start, got)
		}
	}
	// A decision that comes after the watchdog's does not overturn it.
	h, _ = newHook()
	h.giveUp(grace)
	if got := h.conclude(result{outcome: agentclient.OutcomeOf(nil)}, request); got != exitBlock {
		t.Errorf("late acknowledgement: exit status %d", got)
	}
	// Telling that hangs does not hold the process.
	h, _ = newHook()
	h.std.err = stuck{}
	if got := h.giveUp(10 * time.Millisecond); got != exitBlock {
		t.Errorf("stuck: exit status %d", got)
	}
}

// TestGiveUpDuringTheCall has the watchdog bark while the agent is being asked.
func TestGiveUpDuringTheCall(t *testing.T) {
	t.Parallel()
	host := newHost(t)
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	agent := host.serve(func(context.Context) error {
		<-over
		return nil
	})
	h := &hook{
		stage: "createRuntime", std: streams{in: bytes.NewReader(host.state), err: io.Discard},
		config: settings.Settings{Address: "unix://" + host.socket, SpoolDir: host.spool, BootedFile: host.marker,
			FailPolicy: agentclient.FailPolicy{Default: agentclient.Allow}},
	}
	go h.seal(t.Context())
	<-agent.requests
	if got := h.giveUp(10 * time.Second); got != exitStart || !host.spooled().GetLate() {
		t.Errorf("exit status %d, spooled %v", got, host.spooled())
	}
}

// stuck is a standard error that nobody reads.
type stuck struct{}

func (stuck) Write([]byte) (int, error) { select {} }

func TestTellIsOneShortLine(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	h := &hook{std: streams{err: &stderr}}
	h.conclude(result{id: "a\nb\x1b[31m", outcome: agentclient.Outcome{
		Cause: agentclient.Refused, Err: errors.New("x\r\n\u009b" + strings.Repeat("ü", 5000))}}, nil)
	text := stderr.String()
	if strings.Count(text, "\n") != 1 || strings.ContainsAny(text, "\x1b\r\u009b") || len(text) > maxLine+10 {
		t.Errorf("%q", text)
	}
}

// TestDependencies holds what the hook links: process start is what it costs.
func TestDependencies(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	const self = "github.com/boltseal/boltseal/"
	allowed := []string{
		self + "hook", self + "api/", "github.com/opencontainers/runtime-spec/", "google.golang.org/protobuf/",
		"golang.org/x/net/http2/hpack",
	}
	for dep := range strings.FieldsSeq(string(out)) {
		first, _, _ := strings.Cut(dep, "/")
		if dep == "net/http" {
			t.Errorf("%s is linked", dep)
		}
		if !strings.Contains(first, ".") {
			continue // the standard library
		}
		fine := false
		for _, prefix := range allowed {
			fine = fine || strings.HasPrefix(dep, prefix)
		}
		if !fine {
			t.Errorf("%s is linked", dep)
		}
	}
}
