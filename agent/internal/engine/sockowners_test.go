// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// dialVariable makes the test binary connect to an address and send what it is
// told.
const dialVariable = "BOLTSEAL_TEST_DIAL"

func dialAndSend(address string) error {
	conn, err := net.Dial("tcp4", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.Copy(conn, os.Stdin)
	return err
}

// What the kernel does to a tracked socket on nobody's behalf is told of as the doing
// of the process that has tracked it, whatever task it interrupts.
func TestSocketsHaveOwners(t *testing.T) {
	b := newProbedBench(t)
	testenv.Require(t, able(compile.CanKprobe, b))
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	spec := strings.NewReplacer("$P", port, "$I", fmt.Sprint(os.Getpid())).Replace(`  kprobes:
  - call: tcp_rcv_established
    syscall: false
    args: [{index: 0, type: sock}]
    selectors:
    - matchArgs: [{index: 0, operator: SPort, values: [$P]}]
      matchPIDs: [{operator: In, values: [$I]}]
  - call: inet_csk_accept
    syscall: false
    return: true
    args: [{index: 0, type: sock}]
    returnArg: {index: 0, type: sock}
    returnArgAction: TrackSock
    selectors:
    - matchArgs: [{index: 0, operator: SPort, values: [$P]}]
      matchActions: [{action: NoPost}]
  - call: tcp_close
    syscall: false
    args: [{index: 0, type: sock}]
    selectors:
    - matchArgs: [{index: 0, operator: SPort, values: [$P]}]
      matchActions: [{action: UntrackSock, argSock: 0}, {action: NoPost}]
`)
	id := b.loadSpec(spec)
	client := exec.CommandContext(t.Context(), "/proc/self/exe")
	client.Env = append(os.Environ(), dialVariable+"="+listener.Addr().String())
	in, err := client.StdinPipe()
	if err == nil {
		err = client.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if n := b.owners(); n != 1 {
		t.Errorf("%d sockets have owners, want the one that was accepted", n)
	}
	const packets = 20
	for i := range packets {
		_, err = in.Write([]byte("data"))
		if err == nil {
			_, err = io.ReadFull(conn, make([]byte, 4))
		}
		if err != nil {
			t.Fatal(i, err)
		}
	}
	// Each is handled while the client, or nobody, runs, but for those that the kernel
	// puts together or handles later.
	if got := b.counters(id); got.Post < packets/2 {
		t.Errorf("counters %+v, want %d packets of the owner", got, packets)
	}
	for e := b.event(); e != nil; e = b.event() {
		if int(e.H.Tgid) != os.Getpid() {
			t.Errorf("an event of process %d, want the owner's", e.H.Tgid)
		}
	}
	if err := errors.Join(in.Close(), client.Wait(), conn.Close()); err != nil {
		t.Error(err)
	}
	testenv.Eventually(t, 10*time.Second, "the socket that was closed has no owner", func() error {
		if n := b.owners(); n != 0 {
			return fmt.Errorf("%d sockets have", n)
		}
		return nil
	})
}

// owners is how many sockets have owners.
func (b *bench) owners() (n int) {
	b.t.Helper()
	var sock uint64
	var owner bpf.WireSockOwner
	for all := b.maps.coll.Maps[bpf.SiteMapSockOwners].Iterate(); all.Next(&sock, &owner); {
		n++
	}
	return n
}
