// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// stacks names each address after itself, and counts.
type stacks struct{ asked int }

func (s *stacks) Kernel(stack []uint64) []Frame { return s.frames("kernel", stack) }

func (s *stacks) User(pid uint32, start uint64, stack []uint64) []Frame {
	if pid != 200 || start != 200*second {
		return nil
	}
	return s.frames("user\xff", stack)
}

func (s *stacks) frames(module string, stack []uint64) []Frame {
	s.asked++
	var out []Frame
	for _, a := range stack {
		out = append(out, Frame{Address: a, Offset: a + 1, Symbol: strings.Repeat("f\xff", int(a)), Module: module})
	}
	return out
}

// Each message has what its rule asks for, and stacks are named once for all.
func TestMessagesHaveWhatTheirRulesAsk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(t)
	named := &stacks{}
	w.Stacks = named
	for bit, rule := range []Rule{
		{Section: policy.Kprobes, KernelStack: true, UserStack: true},
		{Section: policy.Fentries, KernelStack: true},
		{Section: policy.Kprobes, UserStack: true},
		{Section: policy.Kprobes},
		{Section: policy.LSMHooks, FileHash: true},
		{Section: policy.LSMHooks},
	} {
		w.rules.known[ruleKey{3, 4, bit}] = rule
	}
	e := siteEvent([]int{0, 1, 2, 3, 4, 5}, nil)
	e.KernelStack, e.UserStack, e.FileHash.Algorithm = []uint64{1, 2}, []uint64{3}, 3
	e.FileHash.Bytes[0], e.FileHash.Bytes[19], e.FileHash.Bytes[20] = 0xab, 0xcd, 0xef
	w.Handle(e)
	kernel := []*tetragon.StackTraceEntry{
		{Address: 1, Offset: 2, Symbol: "f\ufffd", Module: "kernel"}, {Address: 2, Offset: 3, Symbol: "f\ufffdf\ufffd", Module: "kernel"},
	}
	user := []*tetragon.StackTraceEntry{{Address: 3, Offset: 4, Symbol: "f\ufffdf\ufffdf\ufffd", Module: "user\ufffd"}}
	got := w.sink.take(t)
	if len(got) != 6 || named.asked != 2 {
		t.Fatalf("%d messages, stacks named %d times", len(got), named.asked)
	}
	for i, want := range []struct{ kernel, user []*tetragon.StackTraceEntry }{{kernel, user}, {kernel, nil}, {nil, user}, {nil, nil}} {
		m := got[i].GetProcessKprobe()
		if diff := cmp.Diff(want.kernel, m.GetKernelStackTrace(), protocmp.Transform()); diff != "" {
			t.Errorf("message %d: kernel's stack: want -, got +:\n%s", i, diff)
		}
		if diff := cmp.Diff(want.user, m.GetUserStackTrace(), protocmp.Transform()); diff != "" {
			t.Errorf("message %d: stack of the process: want -, got +:\n%s", i, diff)
		}
	}
	if hash := got[4].GetProcessLsm().GetImaHash(); hash != "sha1:ab"+strings.Repeat("0", 36)+"cd" {
		t.Errorf("hash %q", hash)
	}
	if hash := got[5].GetProcessLsm().GetImaHash(); hash != "" {
		t.Errorf("hash %q of a rule that asks for none", hash)
	}
}

func TestFileHash(t *testing.T) {
	t.Parallel()
	for algorithm, want := range map[uint32]string{
		0: "", 1: "md4:" + strings.Repeat("0", 32), 5: "sha256:" + strings.Repeat("0", 64), 7: "sha512:" + strings.Repeat("0", 128),
		23: "sha3-512:" + strings.Repeat("0", 128), 24: "", 1 << 31: "",
	} {
		if got := fileHash(&event.FileHash{Algorithm: algorithm}); got != want {
			t.Errorf("algorithm %d: %q, want %q", algorithm, got, want)
		}
	}
}
