// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/bundle"
	"github.com/boltseal/boltseal/hook/settings"
)

// fifo makes a named pipe.
func fifo(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestInputFailures: what no request can be made of blocks, whatever the policy
// says, and the agent is not asked.
func TestInputFailures(t *testing.T) {
	t.Parallel()
	state := func(change func(map[string]any)) func(*host) {
		return func(h *host) {
			var s map[string]any
			if err := json.Unmarshal(h.state, &s); err != nil {
				h.t.Fatal(err)
			}
			change(s)
			h.setState(s)
		}
	}
	papers := func(content string) func(*host) {
		return func(h *host) { h.write(h.papers(), []byte(content)) }
	}
	for _, c := range []struct {
		name  string
		spoil func(*host)
		want  string
	}{
		{"no state", func(h *host) { h.state = nil }, "nothing on standard input"},
		{"truncated state", func(h *host) { h.state = h.state[:len(h.state)-5] }, "OCI state: unexpected end"},
		{"huge state", func(h *host) { h.state = bytes.Repeat([]byte("x"), bundle.MaxState+1) }, "larger than"},
		{"state is not JSON", func(h *host) { h.state = []byte("#!/bin/sh") }, "OCI state: invalid character"},
		{"no id", state(func(s map[string]any) { delete(s, "id") }), "id is missing"},
		{"no bundle in state", state(func(s map[string]any) { delete(s, "bundle") }), "bundle is missing"},
		{"pid 0", state(func(s map[string]any) { s["pid"] = 0 }), "no init pid"},
		{"no pid", state(func(s map[string]any) { delete(s, "pid") }), "no init pid"},
		{"no bundle directory", state(func(s map[string]any) { s["bundle"] = "/nonexistent" }), "no such file"},
		{"no config.json", func(h *host) { os.Remove(h.papers()) }, "no such file"},
		{"config.json is a directory", func(h *host) {
			os.Remove(h.papers())
			os.Mkdir(h.papers(), 0o700)
		}, "not a regular file"},
		{"config.json is a pipe", func(h *host) { os.Remove(h.papers()); os.Rename(fifo(h.t, h.dir), h.papers()) }, "not a regular file"},
		{"config.json is a loop", func(h *host) { os.Remove(h.papers()); os.Symlink("config.json", h.papers()) }, "symbolic links"},
		{"huge config.json", func(h *host) { os.Truncate(h.papers(), bundle.MaxConfig+1) }, "larger than"},
		{"empty config.json", papers(""), "unexpected end"},
		{"invalid config.json", papers(`{"linux":{}`), "unexpected end"},
		{"config.json of wrong types", papers(`{"linux":{"cgroupsPath":[]}}`), "cannot unmarshal"},
		{"no linux section", papers(`{"windows":{}}`), "no linux section"},
		{"request too large", papers(`{"linux":{},"annotations":{"k":"` + strings.Repeat("x", bundle.MaxRequest) + `"}}`), "too large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			agent := h.serve(ok)
			c.spoil(h)
			for _, answer := range []agentclient.Answer{agentclient.Block, agentclient.Allow} {
				h.setPolicy(answer)
				r := h.run("createRuntime")
				r.want(t, 1, "block", "bad-input")
				if !strings.Contains(r.stderr, c.want) {
					t.Errorf("standard error %q, want %q", r.stderr, c.want)
				}
			}
			if len(agent.requests) != 0 || h.spooled() != nil {
				t.Error("the agent was asked, or the container spooled")
			}
		})
	}
}

func TestStdinNeverCloses(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve(ok)
	h.setPolicy(agentclient.Allow)
	h.run("createRuntime") // writes hook.json
	r := h.exec(openPipe(t), "--config", filepath.Join(h.dir, "hook.json"), "createRuntime", "--deadline", "300ms")
	r.want(t, 1, "block", "bad-input")
	if r.took > 3*time.Second {
		t.Errorf("took %s", r.took)
	}
}

// TestAgentFailures: a container that the agent could not seal starts under
// `allow` alone, and is spooled then.
func TestAgentFailures(t *testing.T) {
	t.Parallel()
	frames := func(send func(*http2.Framer)) func(*host) {
		return func(h *host) {
			h.serveRaw(func(conn net.Conn) {
				framer := http2.NewFramer(conn, conn)
				framer.WriteSettings()
				send(framer)
				io.Copy(io.Discard, conn)
			})
		}
	}
	answers := func(code codes.Code) func(*host) {
		return func(h *host) { h.serve(func(context.Context) error { return status.Error(code, "the agent's words") }) }
	}
	// A gRPC server that knows the deadline resets the call at that moment, so
	// the hook's own words are one of two.
	const silent = "no answer from the agent: "
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	for _, c := range []struct {
		name, cause string
		agent       func(*host)
		want        string
	}{
		{"no socket", "unreachable", func(*host) {}, "no such file"},
		{"socket is a file", "unreachable", func(h *host) { h.write(h.socket, nil) }, "connection refused"},
		{"nobody listens", "unreachable", func(h *host) {
			listener := h.listen().(*net.UnixListener)
			listener.SetUnlinkOnClose(false)
			listener.Close()
		}, "connection refused"},
		{"never accepts", "no-answer", func(h *host) { h.listen() }, "deadline"},
		{"accepts and hangs", "no-answer", func(h *host) { h.serveRaw(func(net.Conn) { <-over }) }, "deadline"},
		{"hangs in the call", "no-answer", func(h *host) {
			h.serve(func(ctx context.Context) error {
				<-over
				return nil
			})
		}, silent},
		{"dribbles", "no-answer", func(h *host) {
			h.serveRaw(func(conn net.Conn) {
				// A PING, byte by byte, again and again.
				ping := []byte{0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}
				for i := 0; ; i++ {
					if _, err := conn.Write(ping[i%len(ping) : i%len(ping)+1]); err != nil {
						return
					}
					select {
					case <-over:
						return
					case <-time.After(5 * time.Millisecond):
					}
				}
			})
		}, "deadline"},
		{"hangs up", "no-answer", func(h *host) { h.serveRaw(func(net.Conn) {}) }, "no answer"},
		{"garbage", "no-answer", func(h *host) {
			h.serveRaw(func(conn net.Conn) { io.WriteString(conn, strings.Repeat("ok\n", 100)) })
		}, "no answer"},
		{"HTTP/1", "no-answer", func(h *host) {
			h.serveRaw(func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") })
		}, "no answer"},
		{"RST_STREAM", "no-answer", frames(func(f *http2.Framer) { f.WriteRSTStream(1, http2.ErrCodeInternal) }), "reset the call"},
		{"GOAWAY", "no-answer", frames(func(f *http2.Framer) { f.WriteGoAway(0, http2.ErrCodeNo, nil) }), "goes away"},
		{"Unknown", "not-sealed", answers(codes.Unknown), "the agent's words"},
		{"ResourceExhausted", "not-sealed", answers(codes.ResourceExhausted), "the agent's words"},
		{"Internal", "not-sealed", answers(codes.Internal), "the agent's words"},
		{"Unavailable", "not-sealed", answers(codes.Unavailable), "the agent's words"},
		{"Unimplemented", "not-sealed", answers(codes.Unimplemented), "the agent's words"},
		{"code 4711", "not-sealed", answers(4711), "Code(4711)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			hangs := c.want == "deadline" || c.want == silent
			if hangs {
				// The default: a tenth of a shorter one is no time to say anything in on a
				// busy machine.
				h.config["deadline"] = settings.DefaultDeadline.String()
			}
			c.agent(h)
			for _, answer := range []agentclient.Answer{agentclient.Block, agentclient.Quarantine} {
				h.setPolicy(answer)
				r := h.run("createRuntime")
				r.want(t, 1, "block", c.cause)
				for _, want := range []string{c.want, "fail policy " + string(answer), `container "abc" not started`} {
					if !strings.Contains(r.stderr, want) {
						t.Errorf("standard error %q, want %q", r.stderr, want)
					}
				}
				if hangs && r.took > settings.DefaultDeadline+3*time.Second {
					t.Errorf("took %s", r.took)
				}
			}
			if h.spooled() != nil {
				t.Error("spooled though it was blocked")
			}
			h.setPolicy(agentclient.Allow)
			r := h.run("createRuntime")
			r.want(t, 0, "start", c.cause)
			if got := h.spooled(); !got.GetLate() || got.GetContainerID() != "abc" || got.GetInitPid() != uint32(os.Getpid()) {
				t.Errorf("spooled %v", got)
			}
			if !strings.Contains(r.stderr, "started unsealed") || r.log["late"] != true || r.log["level"] != "WARN" {
				t.Errorf("log %v, standard error %q", r.log, r.stderr)
			}
		})
	}
}

// TestRefusals: what the agent declines does not start under `allow` either.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{
		codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied,
		codes.FailedPrecondition, codes.OutOfRange, codes.Unauthenticated,
	} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.serve(func(context.Context) error { return status.Error(code, "the root cgroup is not a container's") })
			h.setPolicy(agentclient.Allow)
			r := h.run("createRuntime")
			r.want(t, 1, "block", "refused")
			if r.log["grpc_code"] != code.String() || !strings.Contains(r.stderr, "the root cgroup is not a container's") {
				t.Errorf("log %v, standard error %q", r.log, r.stderr)
			}
			if h.spooled() != nil {
				t.Error("spooled though it was refused")
			}
		})
	}
}

func TestNotSinceBoot(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.config["fail_policy"] = map[string]any{
		"default": "block", "not_since_boot": "allow",
		"rules": []any{map[string]any{"match": map[string]any{"name": []string{"db"}}, "policy": "block"}},
	}
	h.run("createRuntime").want(t, 1, "block", "unreachable")
	os.Remove(h.marker)
	r := h.run("createRuntime")
	r.want(t, 0, "start", "unreachable")
	if !strings.Contains(r.stderr, "not_since_boot") {
		t.Errorf("standard error %q", r.stderr)
	}
	h.write(h.papers(), []byte(`{"linux":{},"annotations":{"io.kubernetes.cri.container-name":"db"}}`))
	h.run("createRuntime").want(t, 1, "block", "unreachable")
	// Where it can not be told, the stronger answer holds.
	h.write(h.papers(), []byte(`{"linux":{}}`))
	h.config["booted_file"] = h.papers() + "/x"
	h.run("createRuntime").want(t, 1, "block", "unreachable")
}

func TestRuleByImageOfTheContainer(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.config["fail_policy"] = map[string]any{"rules": []any{
		map[string]any{"match": map[string]any{"image": []string{"registry.example/boltseal/*"}, "annotations": map[string]string{"a": "b*"}}, "policy": "allow"},
	}}
	for annotations, want := range map[string]int{
		`{}`: 1,
		`{"io.kubernetes.cri.image-name":"registry.example/boltseal/agent:1"}`:            1,
		`{"io.kubernetes.cri.image-name":"registry.example/boltseal/agent:1","a":"bc"}`:   0,
		`{"io.kubernetes.cri.image-name":"x/registry.example/boltseal/agent:1","a":"bc"}`: 1,
	} {
		h.write(h.papers(), []byte(`{"linux":{},"annotations":`+annotations+`}`))
		if r := h.run("createRuntime"); r.status != want {
			t.Errorf("%s: exit status %d, want %d (%s)", annotations, r.status, want, r.stderr)
		}
	}
}

func TestSpoolThatCanNotBeWrittenDoesNotBlock(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.setPolicy(agentclient.Allow)
	h.write(h.spool, nil)
	r := h.run("createRuntime")
	r.want(t, 0, "start", "unreachable")
	if notes, _ := r.log["notes"].(string); !strings.Contains(notes, "spool") || !strings.Contains(r.stderr, "spool") {
		t.Errorf("log %v, standard error %q", r.log, r.stderr)
	}
}

// TestBrokenConfigurationBlocks: no part of a configuration with a fault is used
// to let a container start, though the agent would acknowledge.
func TestBrokenConfigurationBlocks(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	agent := h.serve(ok)
	address := fmt.Sprintf(`"address":"unix://%s"`, h.socket)
	file := filepath.Join(h.dir, "hook.json")
	run := func(args ...string) ran {
		return h.exec(bytes.NewReader(h.state), append([]string{"--config", file, "--log-file", h.log, "createRuntime"}, args...)...)
	}
	for content, want := range map[string]string{
		``: "EOF", `{`: "EOF", `[]`: "cannot unmarshal", `rot`: "invalid character",
		`{` + address + `} {}`:                               "behind the end",
		`{` + address + `,"fail_polcy":{}}`:                  "fail_polcy",
		`{` + address + `,"fail_policy":{"defalt":"allow"}}`: "defalt",
		`{` + address + `,"fail_policy":{"default":"open"}}`: "none of block, allow, quarantine",
		`{` + address + `,"fail_policy":{"default":"allow","rules":[{"match":{"images":["*"]},"policy":"allow"}]}}`: "images",
		`{` + address + `,"fail_policy":{"default":"allow","rules":[{"match":{"image":"*"},"policy":"allow"}]}}`:    "cannot unmarshal",
		`{` + address + `,"fail_policy":{"default":"allow","rules":[{"match":{},"policy":"allow"}]}}`:               "rules[0]",
		`{` + address + `,"deadline":"soon"}`:        "deadline",
		`{` + address + `,"deadline":2}`:             "deadline",
		`{` + address + `,"deadline":"31s"}`:         "want 10ms to 30s",
		`{` + address + `,"deadline":"-1s"}`:         "want 10ms to 30s",
		`{` + address + `,"deadline":"0"}`:           "want 10ms to 30s",
		`{"address":"tcp://127.0.0.1:1"}`:            "want unix://",
		`{` + address + `,"spool_dir":"spool"}`:      "not an absolute path",
		`{` + address + `,"booted_file":"booted"}`:   "not an absolute path",
		strings.Repeat(" ", settings.MaxFile) + `{}`: "larger than",
	} {
		h.write(file, []byte(content))
		r := run()
		r.want(t, 1, "block", "bad-config")
		if !strings.Contains(r.stderr, want) {
			t.Errorf("%.80s: standard error %q, want %q", content, r.stderr, want)
		}
	}

	h.write(file, []byte(`{`+address+`}`))
	if err := os.Chmod(file, 0o622); err != nil {
		t.Fatal(err)
	}
	if r := run(); r.status != 1 || !strings.Contains(r.stderr, "may write to it") {
		t.Errorf("writable by others: exit status %d, %q", r.status, r.stderr)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	for flag, value := range map[string]string{"--deadline": "1h", "--fail-policy": "perhaps", "--address": "s", "--spool-dir": "x"} {
		if r := run(flag, value); r.status != 1 {
			t.Errorf("%s %s: exit status %d, %q", flag, value, r.status, r.stderr)
		}
	}
	file = filepath.Join(h.dir, "missing.json")
	run().want(t, 1, "block", "bad-config")
	if len(agent.requests) != 0 {
		t.Error("the agent was asked")
	}
	file = filepath.Join(h.dir, "hook.json")
	run().want(t, 0, "start", "acknowledged") // the counter-check
}

// slow is a standard error that takes its time.
type slow struct {
	takes time.Duration
	text  atomic.Pointer[string]
}

func (s *slow) Write(text []byte) (int, error) {
	<-time.After(s.takes) // as a terminal that is held
	s.text.Store(new(string(text)))
	return len(text), nil
}

// TestTellingMayOutlastTheDeadline: what is told of a container that starts unsealed is
// told to the end.
func TestTellingMayOutlastTheDeadline(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.listen() // and nobody accepts
	h.config["deadline"] = "1s"
	h.setPolicy(agentclient.Allow)
	h.run("createRuntime") // writes hook.json
	stderr := &slow{takes: tellTime / 2}
	status := run([]string{"--config", filepath.Join(h.dir, "hook.json"), "createRuntime"}, streams{in: bytes.NewReader(h.state), err: stderr})
	if text := stderr.text.Load(); status != exitStart || text == nil || !strings.Contains(*text, "started unsealed") || h.spooled() == nil {
		t.Errorf("exit status %d, told %v, spooled %v", status, text, h.spooled())
	}
}
