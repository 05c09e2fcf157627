// SPDX-License-Identifier: Apache-2.0

//go:build linux

package remote

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/test/testenv"
)

// inside is set in the process that has a network of its own.
const inside = "BOLTSEAL_TEST_OWN_NETWORK"

// own is the address of that network that requests may reach; they must not reach
// the others, which are this host's as well and are listened on.
const (
	own      = "10.99.0.1"
	loopback = "127.0.0.1"
	cloud    = "169.254.169.254"
)

// TestOwnNetwork makes requests in a network of the test's own, where servers listen
// on an address that is allowed and on those that are not.
func TestOwnNetwork(t *testing.T) {
	testenv.Require(t, testenv.Root())
	if os.Getenv(inside) == "" {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOwnNetwork$", "-test.v")
		// A proxy of the environment would connect in the agent's place.
		c.Env = append(os.Environ(), inside+"=1", "HTTP_PROXY=http://"+loopback, "http_proxy=http://"+loopback)
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}
		out, err := c.CombinedOutput()
		if t.Log(string(out)); err != nil {
			t.Error(err)
		}
		return
	}
	w := newWorld(t)
	t.Run("reached", func(t *testing.T) {
		w.does(t, "GetUrl", "http://"+own+"/", 1, 0)
		w.does(t, "GetUrl", "http://ok.test/path?query", 1, 0)
		w.does(t, "GetUrl", "http://ok.test/to?http://ok.test/", 2, 0)
		w.does(t, "GetUrl", "http://both.test/", 1, 0)
		w.does(t, "DnsLookup", "some.name.test", 0, 0)
		w.does(t, "DnsLookup", "missing.test.", 0, 0)
		if asked := w.asked(); !strings.Contains(asked, "some.name.test. ") || !strings.Contains(asked, "missing.test. ") {
			t.Errorf("names asked for: %q", asked)
		}
	})
	t.Run("not reached", func(t *testing.T) {
		for _, url := range []string{
			"http://" + loopback + "/", "http://" + cloud + "/", "http://bad.test/", "http://cloud.test/", "http://[::ffff:" + loopback + "]/",
			"http://localhost/", "http://0.0.0.0/", "http://none.test/",
		} {
			w.does(t, "GetUrl", url, 0, 1)
		}
		for _, to := range []string{"http://" + loopback + "/", "http://bad.test/", "http://" + cloud + "/", "file:///etc/passwd"} {
			w.does(t, "GetUrl", "http://ok.test/to?"+to, 1, 1)
		}
		w.does(t, "GetUrl", "http://ok.test/loop", 1+maxRedirects, 1)
		// A name that leads elsewhere the second time.
		w.does(t, "GetUrl", "http://flip.test/", 1, 0)
		w.does(t, "GetUrl", "http://flip.test/", 0, 1)
	})
	t.Run("bounded", func(t *testing.T) {
		start := time.Now()
		w.does(t, "GetUrl", "http://ok.test/endless", 1, 0)
		if sent := w.sent.Load(); sent > 16<<20 {
			t.Errorf("%d bytes of an answer without an end were taken", sent)
		}
		w.does(t, "GetUrl", "http://ok.test/head", 1, 1)
		w.does(t, "GetUrl", "http://ok.test/slow", 1, 1)
		if took := time.Since(start); took > 10*timeout {
			t.Errorf("took %v", took)
		}
	})
	t.Run("held back", func(t *testing.T) {
		w.monitored.Store(true)
		w.does(t, "GetUrl", "http://ok.test/", 0, 0)
		w.does(t, "DnsLookup", "held.test", 0, 0)
		if n := w.Counts().HeldBack; n != 2 || strings.Contains(w.asked(), "held.test") {
			t.Errorf("%d held back, asked for %q", n, w.asked())
		}
	})
	if n := w.forbidden.Load(); n != 0 {
		t.Errorf("%d requests reached an address that is not allowed", n)
	}
}

// world is the servers of the network, and requests to them.
type world struct {
	*Requests
	monitored       atomic.Bool
	hits, forbidden atomic.Int64
	sent            atomic.Int64
	flips           atomic.Int64

	mu    sync.Mutex
	names strings.Builder
	count int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	for i, address := range []string{"", own, cloud} {
		addAddress(t, i, address)
	}
	useResolver(t, own)
	w := &world{}
	w.Requests = New(func(string) bool { return !w.monitored.Load() }, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	listen := func(address string, handler http.HandlerFunc) {
		listener, err := net.Listen("tcp", address+":80")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: handler}
		go server.Serve(listener)
		t.Cleanup(func() { server.Close() })
	}
	listen(own, w.answer)
	for _, address := range []string{loopback, cloud} {
		listen(address, func(http.ResponseWriter, *http.Request) { w.forbidden.Add(1) })
	}
	conn, err := net.ListenPacket("udp", own+":53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go w.resolve(conn)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return w
}

// does makes a request and waits for its end: hits are the requests that came to the
// server, failed is whether it failed.
func (w *world) does(t *testing.T, kind, target string, hits int64, failed uint64) {
	t.Helper()
	w.count++
	before, reached := w.Counts(), w.hits.Load()
	action := policy.Action{Kind: policy.GetURL, Target: target}
	if kind == "DnsLookup" {
		action.Kind = policy.DNSLookup
	}
	w.Submit(Request{Policy: fmt.Sprint(w.count), Action: action})
	testenv.Eventually(t, 10*timeout, target, func() error {
		if c := w.Counts(); c.Done+c.Failed+c.HeldBack == before.Done+before.Failed+before.HeldBack {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	if n := w.Counts().Failed - before.Failed; n != failed {
		t.Errorf("%s %s: %d failed, want %d", kind, target, n, failed)
	}
	if n := w.hits.Load() - reached; n != hits {
		t.Errorf("%s %s: %d requests came, want %d", kind, target, n, hits)
	}
}

func (w *world) answer(out http.ResponseWriter, r *http.Request) {
	w.hits.Add(1)
	switch r.URL.Path {
	case "/to":
		http.Redirect(out, r, r.URL.RawQuery, http.StatusFound)
	case "/loop":
		http.Redirect(out, r, "/loop", http.StatusFound)
	case "/slow":
		<-r.Context().Done()
	case "/head":
		out.Header().Set("X", strings.Repeat("x", 2*maxHeader))
	case "/endless":
		for some := make([]byte, 64<<10); ; {
			n, err := out.Write(some)
			if w.sent.Add(int64(n)); err != nil || w.sent.Load() > 64<<20 {
				return
			}
		}
	}
}

// resolve answers questions for names.
func (w *world) resolve(conn net.PacketConn) {
	for buffer := make([]byte, 1500); ; {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		w.mu.Lock()
		w.names.WriteString(q.Name.String() + " ")
		w.mu.Unlock()
		m.Response, m.Additionals = true, nil
		addresses, known := w.addresses(q)
		if !known {
			m.RCode = dnsmessage.RCodeNameError
		}
		for _, a := range addresses {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
				Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
			})
		}
		if answer, err := m.Pack(); err == nil {
			conn.WriteTo(answer, from)
		}
	}
}

func (w *world) addresses(q dnsmessage.Question) (all []string, known bool) {
	all, known = map[string][]string{
		"ok.test.": {own}, "bad.test.": {loopback}, "cloud.test.": {cloud}, "both.test.": {loopback, own},
		"flip.test.": nil, "some.name.test.": {loopback}, "localhost.": {loopback},
	}[q.Name.String()]
	if q.Type != dnsmessage.TypeA {
		return nil, known
	}
	if q.Name.String() == "flip.test." {
		all = []string{own}
		if w.flips.Add(1) > 1 {
			all = []string{loopback}
		}
	}
	return all, known
}

func (w *world) asked() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.names.String()
}

// addAddress gives the loopback device another address, or brings it up.
func addAddress(t *testing.T, alias int, address string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if address == "" {
		device, err := unix.NewIfreq("lo")
		if err != nil {
			t.Fatal(err)
		}
		device.SetUint16(unix.IFF_UP)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, device); err != nil {
			t.Fatalf("bring the loopback device up: %v", err)
		}
		return
	}
	device, err := unix.NewIfreq(fmt.Sprintf("lo:%d", alias))
	if err == nil {
		err = device.SetInet4Addr(netip.MustParseAddr(address).AsSlice())
	}
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCSIFADDR, device)
	}
	if err != nil {
		t.Fatalf("add address %s: %v", address, err)
	}
}

// useResolver makes this process, which has mounts of its own, ask a name server.
func useResolver(t *testing.T, address string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver "+address+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(file, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount("/etc/resolv.conf", unix.MNT_DETACH) })
}
