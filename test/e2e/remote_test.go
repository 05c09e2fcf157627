// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// ownAddress is one of a network that only the agent and a server of the test's are in.
const ownAddress = "10.99.0.1"

// TestGetURL: what a container does makes the agent get a URL, also without an event,
// and no more when the policy is only monitored.
func TestGetURL(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	came := make(chan string, 100)
	var agent *agentenv.Agent
	ownNetwork(t, func() {
		listener, err := net.Listen("tcp", ownAddress+":80")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { came <- r.URL.Path })}
		go server.Serve(listener)
		t.Cleanup(func() { server.Close() })
		agent = agentenv.Start(t, testenv.AgentOptions{Args: []string{"--allow-get-url"}})
	})
	r := newRunning(t, agent)
	policy := func(action string) string {
		return agentenv.PolicyText("canary", r.mark, exitCode("int", "operator: Equal, values: [42]", action)...)
	}
	wait := func() string {
		select {
		case path := <-came:
			return path
		case <-time.After(takenIn):
			return "nothing"
		}
	}
	agent.Policy(t, policy("{action: GetUrl, argUrl: 'http://"+ownAddress+"/posted'}"))
	r.tries(t, exits(43, 43), exits(42, 42))
	if path := wait(); path != "/posted" {
		t.Errorf("the server was asked for %s", path)
	}
	agent.Policy(t, policy("{action: NoPost}, {action: GetUrl, argUrl: 'http://"+ownAddress+"/silent'}"))
	r.tries(t, exits(42, 42))
	if path := wait(); path != "/silent" {
		t.Errorf("the server was asked for %s", path)
	}
	if c := agent.PolicyStatus(t, "canary").GetStats().GetActionCounters(); c.GetNopost() != 1 || c.GetPost() != 0 {
		t.Errorf("counters of a match without an event: %v", c)
	}
	agent.Mode(t, "canary", monitor)
	r.tries(t, exits(42, 42))
	agent.Mode(t, "canary", enforce)
	r.tries(t, exits(42, 42))
	if path := wait(); path != "/silent" || len(came) > 0 {
		t.Errorf("the server was asked for %s, and %d more", path, len(came))
	}
	err := agent.Add(t.Context(), policy("{action: DnsLookup, argFqdn: example.org}"))
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "--allow-dns-lookup") {
		t.Errorf("an action that is off: %v", err)
	}
}

// ownNetwork calls do in a network of its own; what do starts is in it.
func ownNetwork(t *testing.T, do func()) {
	t.Helper()
	runtime.LockOSThread()
	host, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	// A test that ends in between leaves the thread locked, and it ends as well.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	device, err := unix.NewIfreq("lo")
	if err == nil {
		err = device.SetInet4Addr(netip.MustParseAddr(ownAddress).AsSlice())
	}
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCSIFADDR, device)
	}
	if err == nil {
		device.SetUint16(unix.IFF_UP)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, device)
	}
	if err != nil {
		t.Fatalf("give the network an address: %v", err)
	}
	do()
	if err := unix.Setns(int(host.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	runtime.UnlockOSThread()
}
