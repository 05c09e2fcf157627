// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// Structures of the kernel are read where they really are: at tracepoints that are
// given some.

// raw is a hook on a raw tracepoint of which each selector has one filter.
func raw(event string, args []policy.Arg, filters ...policy.ArgFilter) policy.Hook {
	h := policy.Hook{Section: policy.Tracepoints, Raw: true, Event: event, Args: args}
	for _, f := range filters {
		h.Selectors = append(h.Selectors, policy.Selector{
			Args: []policy.ArgFilter{f}, Actions: []policy.Action{{Kind: policy.Post}},
		})
	}
	return h
}

// apart makes a policy of each selector, so that all that match are counted.
func (b *bench) apart(h policy.Hook, only policy.ArgFilter) (ids []PolicyID) {
	b.t.Helper()
	var set []Member
	all := h
	all.Selectors = nil
	for _, s := range h.Selectors {
		// What the test does, and not what the machine does beside it.
		s.Args = append(s.Args, only)
		all.Selectors = append(all.Selectors, s)
	}
	// One that asks for all comes first, so that the program is loaded once.
	for i := range len(all.Selectors) + 1 {
		h := all
		if i > 0 {
			h.Selectors = all.Selectors[i-1 : i]
		}
		compiled, err := compile.Compile(&policy.Policy{Name: fmt.Sprint("p", i), Hooks: []policy.Hook{h}}, b.points)
		if err != nil {
			b.t.Fatal(err)
		}
		id := b.load(compiled)
		if i > 0 {
			ids = append(ids, id)
			set = append(set, Member{id, true})
		}
	}
	b.apply(set...)
	return ids
}

// expect checks which of the policies have matched, and how often.
func (b *bench) expect(ids []PolicyID, h policy.Hook, want []uint64) {
	b.t.Helper()
	for i, id := range ids {
		if got := b.counters(id).Post; got != want[i] {
			b.t.Errorf("%+v matched %d times, want %d", h.Selectors[i].Args[0], got, want[i])
		}
	}
}

func strings1(op policy.Operator, values ...string) policy.ArgFilter {
	return policy.ArgFilter{Op: op, Strings: values}
}

func number(arg int, op policy.Operator, lo, hi uint64) policy.ArgFilter {
	return policy.ArgFilter{Arg: arg, Op: op, Ranges: []policy.Range{{Lo: lo, Hi: hi}}}
}

func networks(op policy.Operator, texts ...string) policy.ArgFilter {
	f := policy.ArgFilter{Op: op}
	for _, text := range texts {
		f.Prefixes = append(f.Prefixes, netip.MustParsePrefix(text))
	}
	return f
}

// A program that is executed, by the kernel's structure for it: its path is that of
// the file, through links and whatever the name was.
func TestFileThatIsExecuted(t *testing.T) {
	b := newBench(t)
	dir := testenv.Dir(t)
	path, link := filepath.Join(dir, "program"), filepath.Join(dir, "link")
	found, err := exec.LookPath("true")
	testenv.Require(t, testenv.Optional("true", func() error { return err }))
	program, err := os.ReadFile(found)
	if err == nil {
		err = os.WriteFile(path, program, 0o750)
	}
	if err == nil {
		err = os.Symlink("program", link)
	}
	if err != nil {
		t.Fatal(err)
	}
	arg := []policy.Arg{{Index: 2, Type: policy.ArgBinprm}}
	h := raw("sched_process_exec", arg,
		strings1(policy.OpEqual, path), strings1(policy.OpEqual, link), strings1(policy.OpPrefix, dir+"/p"),
		strings1(policy.OpPostfix, "/program"), strings1(policy.OpNotEqual, path), strings1(policy.OpNotPrefix, "/no"),
	)
	ids := b.apart(h, strings1(policy.OpPrefix, dir))
	cmd := exec.CommandContext(t.Context(), link)
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.expect(ids, h, []uint64{1, 0, 1, 1, 0, 1})
	e := b.event()
	if e == nil {
		t.Fatal("no event")
	}
	if e.strings[0] != path || e.Mode[0] != unix.S_IFREG|0o750 {
		t.Errorf("the event says %q of mode %o", e.strings[0], e.Mode[0])
	}
}

// A descriptor stands for the file that it is of.
func TestFileOfADescriptor(t *testing.T) {
	b := newBench(t)
	dir := testenv.Dir(t)
	f, err := os.CreateTemp(dir, "file")
	if err != nil {
		t.Fatal(err)
	}
	h := policy.Hook{
		Section: policy.Tracepoints, Subsystem: "syscalls", Event: "sys_enter_fchmod",
		Args: []policy.Arg{{Index: 5, Type: policy.ArgFD}},
	}
	for _, filter := range []policy.ArgFilter{
		strings1(policy.OpEqual, f.Name()), strings1(policy.OpEqual, dir), strings1(policy.OpPrefix, dir+"/file"),
	} {
		h.Selectors = append(h.Selectors, policy.Selector{Args: []policy.ArgFilter{filter}, Actions: []policy.Action{{Kind: policy.Post}}})
	}
	ids := b.apart(h, strings1(policy.OpPrefix, dir))
	if err := f.Chmod(0o640); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fchmod(9999, 0o640); err == nil {
		t.Error("a descriptor that is not open was changed")
	}
	b.expect(ids, h, []uint64{1, 0, 1})
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

const inetSockSetState = "inet_sock_set_state"

// Sockets match by what they are: addresses, ports, protocol, family and state.
func TestSockets(t *testing.T) {
	for _, family := range []struct {
		network, address, within, beside string
		number                           uint64
	}{
		{"tcp4", "127.0.0.1:0", "127.0.0.0/8", "127.0.0.2/32", unix.AF_INET},
		{"tcp6", "[::1]:0", "::/127", "::2/128", unix.AF_INET6},
	} {
		t.Run(family.network, func(t *testing.T) {
			b := newBench(t)
			listener, err := net.Listen(family.network, family.address)
			if err != nil {
				testenv.Require(t, testenv.Optional(family.network, func() error { return err }))
			}
			defer listener.Close()
			at := listener.Addr().(*net.TCPAddr).AddrPort()
			port, self := uint64(at.Port()), netip.PrefixFrom(at.Addr(), at.Addr().BitLen()).String()
			args := []policy.Arg{{Index: 0, Type: policy.ArgSock}, {Index: 1, Type: policy.ArgInt32}, {Index: 2, Type: policy.ArgInt32}}
			h := raw(inetSockSetState, args,
				networks(policy.OpDAddr, family.within), networks(policy.OpDAddr, family.beside), networks(policy.OpDAddr, family.beside, self),
				networks(policy.OpNotDAddr, family.within), networks(policy.OpNotDAddr, family.beside),
				networks(policy.OpDAddr, "10.0.0.0/8", "fd00::/8"), networks(policy.OpDAddr, "0.0.0.0/0"), networks(policy.OpDAddr, "::/0"),
				number(0, policy.OpDPort, port, port), number(0, policy.OpNotDPort, port, port), number(0, policy.OpDPort, 0, port-1),
				number(0, policy.OpSPort, port, port), number(0, policy.OpProtocol, unix.IPPROTO_TCP, unix.IPPROTO_TCP),
				number(0, policy.OpFamily, family.number, family.number), number(0, policy.OpFamily, unix.AF_UNIX, unix.AF_UNIX),
				// The state that it leaves is still its own.
				number(0, policy.OpState, tcpClose, tcpClose), number(0, policy.OpState, tcpListen, tcpListen),
			)
			v4, v6 := uint64(1), uint64(0)
			if family.number == unix.AF_INET6 {
				v4, v6 = v6, v4
			}
			// A client that begins to connect.
			only := number(2, policy.OpEqual, tcpSynSent, tcpSynSent)
			ids := b.apart(h, only)
			conn, err := net.Dial(family.network, at.String())
			if err != nil {
				t.Fatal(err)
			}
			local := conn.LocalAddr().(*net.TCPAddr).AddrPort()
			conn.Close()
			b.expect(ids, h, []uint64{1, 0, 1, 0, 1, 0, v4, v6, 1, 0, 0, 0, 1, 1, 0, 1, 0})
			e := b.event()
			if e == nil {
				t.Fatal("no event")
			}
			var info bpf.WireSockInfo
			if _, err := binary.Decode([]byte(e.strings[0]), binary.LittleEndian, &info); err != nil {
				t.Fatal(err)
			}
			if uint64(info.TargetPort) != port || uint64(info.Family) != family.number || info.Type != unix.SOCK_STREAM ||
				info.Protocol != unix.IPPROTO_TCP || info.SourcePort != 0 && info.SourcePort != local.Port() {
				t.Errorf("the event says %+v of a connection from %v to %v", info, local, at)
			}
		})
	}
}

// States of a TCP socket, include/net/tcp_states.h.
const (
	tcpSynSent = 2
	tcpClose   = 7
	tcpListen  = 10
)

// Packets match by the headers that they have.
func TestPackets(t *testing.T) {
	b := newBench(t)
	const port = 9 // discard: nobody listens
	args := []policy.Arg{{Index: 0, Type: policy.ArgSkb}}
	h := raw("net_dev_queue", args,
		networks(policy.OpDAddr, "127.0.0.0/8"), networks(policy.OpSAddr, "10.0.0.0/8"),
		number(0, policy.OpProtocol, unix.IPPROTO_UDP, unix.IPPROTO_UDP), number(0, policy.OpProtocol, unix.IPPROTO_TCP, unix.IPPROTO_TCP),
		number(0, policy.OpFamily, unix.AF_INET, unix.AF_INET),
	)
	ids := b.apart(h, number(0, policy.OpDPort, port, port))
	conn, err := net.Dial("udp4", fmt.Sprintf("127.0.0.77:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	b.expect(ids, h, []uint64{1, 0, 1, 0, 1})
}
