// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/hook/agentclient"
)

// runAsHook makes the test binary be the hook.
const runAsHook = "BOLTSEAL_TEST_RUN_AS_HOOK"

func TestMain(m *testing.M) {
	if file := os.Getenv(runAsRuntime); file != "" && filepath.Base(os.Args[0]) == "runc" {
		os.Exit(tellWhatIsSeen(file))
	}
	if os.Getenv(runAsHook) != "" {
		main()
	}
	os.Exit(withRuntime(m))
}

// host is a host with one container, whose papers are in order, and the files
// that the hook uses there.
type host struct {
	t                                       *testing.T
	dir, bundle, socket, log, spool, marker string
	state                                   []byte
	config                                  map[string]any // the hook's hook.json
}

func newHost(t *testing.T) *host {
	t.Helper()
	dir := t.TempDir()
	h := &host{
		t: t, dir: dir, bundle: filepath.Join(dir, "bundle"), socket: filepath.Join(dir, "s"),
		log: filepath.Join(dir, "log"), spool: filepath.Join(dir, "spool"), marker: filepath.Join(dir, "booted"),
	}
	h.config = map[string]any{
		"address": "unix://" + h.socket, "log_file": h.log, "spool_dir": h.spool, "booted_file": h.marker,
		"deadline": "20s",
	}
	h.write(h.marker, nil)
	if err := os.Mkdir(h.bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	h.write(h.papers(), []byte(`{"ociVersion":"1.2.0","root":{"path":"rootfs"},"linux":{"cgroupsPath":"/x/abc"},
		"annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-namespace":"prod"}}`))
	h.setState(map[string]any{"ociVersion": "1.2.0", "id": "abc", "status": "creating", "pid": os.Getpid(), "bundle": h.bundle})
	return h
}

// papers is the path of the container's config.json.
func (h *host) papers() string { return filepath.Join(h.bundle, "config.json") }

func (h *host) write(path string, content []byte) {
	h.t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) setState(state map[string]any) {
	h.t.Helper()
	raw, err := json.Marshal(state)
	if err != nil {
		h.t.Fatal(err)
	}
	h.state = raw
}

// setPolicy sets the fail policy's default.
func (h *host) setPolicy(answer agentclient.Answer) {
	h.config["fail_policy"] = map[string]any{"default": answer}
}

// ran is what became of one process.
type ran struct {
	status         int
	stdout, stderr string
	log            map[string]any // nil when no line was written
	took           time.Duration
}

// run runs the hook with the host's hook.json and state.
func (h *host) run(args ...string) ran {
	h.t.Helper()
	raw, err := json.Marshal(h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	file := filepath.Join(h.dir, "hook.json")
	h.write(file, raw)
	return h.exec(bytes.NewReader(h.state), append([]string{"--config", file}, args...)...)
}

// exec runs the hook as a process of its own, which is killed when it hangs.
func (h *host) exec(stdin io.Reader, args ...string) ran {
	h.t.Helper()
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(h.t.Context(), 40*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	// A race-enabled process would sleep for a second before it exits.
	cmd.Env = append(os.Environ(), runAsHook+"=1", "GORACE=atexit_sleep_ms=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	cmd.WaitDelay = time.Second
	start := time.Now()
	err = cmd.Run()
	r := ran{status: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String(), took: time.Since(start)}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) && !strings.Contains(err.Error(), "broken pipe") {
		h.t.Fatal(err)
	}
	r.log = h.readLog()
	return r
}

// readLog returns the log's only line and empties the log.
func (h *host) readLog() map[string]any {
	h.t.Helper()
	raw, err := os.ReadFile(h.log)
	if err != nil || len(raw) == 0 {
		return nil
	}
	if strings.Count(string(raw), "\n") != 1 {
		h.t.Errorf("log is not one line: %q", raw)
	}
	var line map[string]any
	if err := json.Unmarshal(raw, &line); err != nil {
		h.t.Errorf("log %q: %v", raw, err)
	}
	if err := os.Truncate(h.log, 0); err != nil {
		h.t.Fatal(err)
	}
	return line
}

// spooled returns the request that was written down for the agent, nil when
// none was.
func (h *host) spooled() *tetragon.CreateContainer {
	h.t.Helper()
	entries, err := os.ReadDir(h.spool)
	if err != nil || len(entries) == 0 {
		return nil
	}
	if len(entries) > 1 {
		h.t.Errorf("%d files in the spool", len(entries))
	}
	raw, err := os.ReadFile(filepath.Join(h.spool, entries[0].Name()))
	if err != nil {
		h.t.Fatal(err)
	}
	request := new(tetragon.RuntimeHookRequest)
	if err := proto.Unmarshal(raw, request); err != nil {
		h.t.Fatal(err)
	}
	return request.GetCreateContainer()
}

// agent is a gRPC server in the agent's place.
type agent struct {
	tetragon.UnimplementedFineGuidanceSensorsServer
	answer   func(context.Context) error
	requests chan *tetragon.CreateContainer
}

func (a *agent) RuntimeHook(ctx context.Context, r *tetragon.RuntimeHookRequest) (*tetragon.RuntimeHookResponse, error) {
	a.requests <- r.GetCreateContainer()
	return &tetragon.RuntimeHookResponse{}, a.answer(ctx)
}

// serve starts an agent that answers as told.
func (h *host) serve(answer func(context.Context) error) *agent {
	h.t.Helper()
	a := &agent{answer: answer, requests: make(chan *tetragon.CreateContainer, 10)}
	server := grpc.NewServer()
	tetragon.RegisterFineGuidanceSensorsServer(server, a)
	go server.Serve(h.listen())
	h.t.Cleanup(server.Stop)
	return a
}

// listen listens in the agent's place.
func (h *host) listen() net.Listener {
	h.t.Helper()
	listener, err := net.Listen("unix", h.socket)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { listener.Close() })
	return listener
}

// serveRaw hands each connection to serve, and closes it after.
func (h *host) serveRaw(serve func(net.Conn)) {
	h.t.Helper()
	listener := h.listen()
	go func() {
		for conn, err := listener.Accept(); err == nil; conn, err = listener.Accept() {
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
}

// want checks status, decision and cause of a run, and that a failure is told
// on standard error, in one line, and a success is not.
func (r ran) want(t *testing.T, status int, decision, cause string) {
	t.Helper()
	if r.status != status {
		t.Errorf("exit status %d, want %d; standard error: %s", r.status, status, r.stderr)
	}
	if r.log["decision"] != decision || r.log["cause"] != cause {
		t.Errorf("log has decision %v, cause %v; want %s, %s (%v)", r.log["decision"], r.log["cause"], decision, cause, r.log)
	}
	quiet := decision == "start" && r.log["late"] == false
	if lines := strings.Count(r.stderr, "\n"); (quiet && lines != 0) || (!quiet && lines != 1) {
		t.Errorf("standard error: %q", r.stderr)
	}
	if r.stdout != "" {
		t.Errorf("standard output: %q", r.stdout)
	}
}
