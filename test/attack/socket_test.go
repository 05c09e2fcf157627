// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// clientVariable makes the test binary a client of the socket that it names.
const clientVariable = "BOLTSEAL_TEST_CLIENT"

// client calls the agent at a socket and exits with 0 if it answered.
func client(socket string) int {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err == nil {
		defer conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_, err = tetragon.NewFineGuidanceSensorsClient(conn).GetVersion(ctx, &tetragon.GetVersionRequest{})
	}
	if err != nil {
		fmt.Println("refused:", err)
		return 1
	}
	fmt.Println("answered")
	return 0
}

// asks runs a client as a user and returns what it said.
func asks(t *testing.T, socket string, user uint32) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe") // its directory may be closed to others
	cmd.Env = append(os.Environ(), clientVariable+"="+socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user, NoSetGroups: true}}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// TestSocketIsRootsAlone: the API answers root, by the socket's mode and, where
// somebody has opened that up, by who asks. It listens on nothing else.
func TestSocketIsRootsAlone(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	r := newRig(t, testenv.AgentOptions{})
	info, err := os.Stat(r.agent.Socket)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; info.Mode() != fs.ModeSocket|0o600 || owner != 0 {
		t.Errorf("the socket is %s of user %d, want a socket of mode 0600 of root", info.Mode(), owner)
	}
	const nobody = 65534
	if said := asks(t, r.agent.Socket, 0); said != "answered" {
		t.Errorf("root is told %q", said)
	}
	if said := asks(t, r.agent.Socket, nobody); !strings.Contains(said, "refused") || !strings.Contains(said, "permission denied") {
		t.Errorf("another user is told %q", said)
	}
	if err := os.Chmod(r.agent.Socket, 0o666); err != nil {
		t.Fatal(err)
	}
	if said := asks(t, r.agent.Socket, nobody); !strings.Contains(said, "refused") || strings.Contains(said, "permission denied") {
		t.Errorf("another user, by a socket that is open to all, is told %q", said)
	}
	if said := asks(t, r.agent.Socket, 0); said != "answered" {
		t.Errorf("root is told %q afterwards", said)
	}
	if log := r.agent.Log(); !strings.Contains(log, "refused connection") {
		t.Error("the log says nothing of the connection that was refused")
	}
	if open := internetSockets(t, r.agent.Pid); len(open) > 0 {
		t.Errorf("the agent has sockets of the internet family: %q", open)
	}
}

// internetSockets lists the TCP and UDP sockets of a process.
func internetSockets(t *testing.T, pid int) (open []string) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d", pid)
	own := map[string]bool{}
	links, err := filepath.Glob(dir + "/fd/*")
	if err != nil || len(links) == 0 {
		t.Fatalf("descriptors of %d: %v", pid, err)
	}
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil && strings.HasPrefix(target, "socket:[") {
			own[strings.Trim(strings.TrimPrefix(target, "socket:"), "[]")] = true
		}
	}
	if len(own) == 0 {
		t.Fatal("the agent has no sockets at all: this looks at the wrong process")
	}
	for _, family := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6"} {
		table, err := os.ReadFile(filepath.Join(dir, "net", family))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without it
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(table)) {
			if fields := strings.Fields(line); len(fields) > 9 && own[fields[9]] {
				open = append(open, family+" "+line)
			}
		}
	}
	return open
}

// secondAgent starts an agent at a directory that is in use, and returns how it ended.
func secondAgent(t *testing.T, dir string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	config := filepath.Join(testenv.Dir(t), "boltseald.yaml")
	if err := os.WriteFile(config, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, testenv.Binary(t, "./agent/cmd/boltseald"), "--config", config,
		"--server-address", "unix://"+filepath.Join(dir, "boltseal.sock"), "--spool-dir", filepath.Join(dir, "spool"), "--policy-dir", "")
	text, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Error("the second agent runs")
	}
	return string(text), err
}

// TestSocketInUse: an agent takes the place of a dead one's socket, and of
// nothing else.
func TestSocketInUse(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	first := agentenv.Start(t, testenv.AgentOptions{})
	if out, err := secondAgent(t, first.Dir); err == nil || !strings.Contains(out, "another agent listens") || !strings.Contains(out, first.Socket) {
		t.Errorf("second agent at the socket of the first: %v: %s", err, out)
	}
	first.Status(t) // it still answers, at its socket
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(first.Socket); err != nil {
		t.Fatalf("the killed agent left no socket: %v", err)
	}
	second := agentenv.Start(t, testenv.AgentOptions{Dir: first.Dir})
	second.Status(t)
	if err := second.Stop(); err != nil {
		t.Error(err)
	}
	for name, put := range map[string]func(path string) error{
		"a file":               func(p string) error { return os.WriteFile(p, []byte("precious"), 0o640) },
		"a directory":          func(p string) error { return os.Mkdir(p, 0o750) },
		"a pipe":               func(p string) error { return unix.Mkfifo(p, 0o640) },
		"a link to a file":     func(p string) error { return os.Symlink("/etc/hostname", p) },
		"a link to nowhere":    func(p string) error { return os.Symlink(filepath.Join(filepath.Dir(p), "elsewhere"), p) },
		"a link to the socket": func(p string) error { return os.Symlink(first.Socket, p) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := testenv.Dir(t)
			socket := filepath.Join(dir, "boltseal.sock")
			if err := put(socket); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(socket)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := secondAgent(t, dir); err == nil || !strings.Contains(out, "no socket") || !strings.Contains(out, socket) {
				t.Errorf("%v: %s", err, out)
			}
			after, err := os.Lstat(socket)
			if err != nil || !os.SameFile(before, after) || after.Mode() != before.Mode() || after.Size() != before.Size() {
				t.Errorf("it is %v now (%v), was %v", after, err, before)
			}
			if _, err := os.Lstat(filepath.Join(dir, "elsewhere")); err == nil {
				t.Error("the link was followed")
			}
		})
	}
}

// TestRudeClients: what connects and talks nonsense, or nothing at all, takes
// nothing from those who ask properly.
func TestRudeClients(t *testing.T) {
	const clients = 200
	testenv.LeakCheck(t)
	agentenv.Require(t)
	r := newSecluded(t)
	r.agent.Policy(t, agentenv.KillShadow(r.policy, r.mark))
	before := r.state(t)
	preface := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	noise := make([]byte, 64<<10)
	_, _ = rand.Read(noise) // never fails
	messages := [][]byte{
		nil, noise, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), preface, append(preface[:len(preface):len(preface)], noise...),
		append(preface[:len(preface):len(preface)], 0xff, 0xff, 0xff, 4, 0, 0, 0, 0, 0), preface[:10],
	}
	for i := range clients {
		conn, err := net.Dial("unix", r.agent.Socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(messages[i%len(messages)]) // it may have been hung up on
	}
	start := time.Now()
	r.works(t) // while they are connected
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("two containers took %v beside %d rude clients", took, clients)
	}
	r.unchanged(t, before)
	r.settled(t)
}

// TestHangingUp: a client that hangs up in the middle of its call gets no half of it.
func TestHangingUp(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	r := newSecluded(t)
	r.agent.Policy(t, agentenv.KillShadow(r.policy, r.mark))
	before := r.state(t)
	for i := range 20 {
		conn, err := r.agent.Dial()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*200*time.Microsecond)
		// The agent may have been faster, or not have got it at all.
		_, _ = tetragon.NewFineGuidanceSensorsClient(conn).AddTracingPolicy(ctx,
			&tetragon.AddTracingPolicyRequest{Yaml: killOpen("hang-up-"+strconv.Itoa(i), r.mark, "operator: Equal, values: [/nothing]")})
		cancel()
		conn.Close()
	}
	testenv.Eventually(t, 10*time.Second, "each policy is there whole or not at all", func() error {
		list, err := r.agent.Tetragon.ListTracingPolicies(t.Context(), &tetragon.ListTracingPoliciesRequest{})
		if err != nil {
			return err
		}
		for _, p := range list.GetPolicies() {
			if p.GetName() == r.policy {
				continue
			}
			if p.GetState() != tetragon.TracingPolicyState_TP_STATE_ENABLED || len(p.GetSensors()) != 1 {
				return fmt.Errorf("half a policy: %s", p)
			}
			r.agent.Delete(t, p.GetName())
		}
		return nil
	})
	r.unchanged(t, before)
	r.works(t)
}
