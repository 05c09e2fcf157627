// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/boltseal/boltseal/bpf"
)

// encode lays a record out as the kernel does: the generated types one after
// the other, then text, with the header's size set.
func encode(tb testing.TB, fixed any, text ...string) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, fixed); err != nil {
		tb.Fatalf("encode %T: %v", fixed, err)
	}
	for _, t := range text {
		b.WriteString(t)
	}
	binary.LittleEndian.PutUint32(b.Bytes()[4:], uint32(b.Len()))
	return b.Bytes()
}

func wireHeader(kind bpf.WireEventType) bpf.WireEventHeader {
	return bpf.WireEventHeader{
		Type: uint16(kind), Pad: 0xffff, Ktime: 11, Tgid: 12, Tid: 13, Start: 14, Slot: 15, Uid: 16, CgroupId: 17,
	}
}

func header() Header {
	return Header{Ktime: 11, Tgid: 12, Tid: 13, Start: 14, Slot: 15, UID: 16, CgroupID: 17}
}

func wirePath(path string) (p [512]int8) {
	for i := range len(path) {
		p[i] = int8(path[i])
	}
	return p
}

func wireState() bpf.WireProcessState {
	return bpf.WireProcessState{
		Cred: bpf.WireCredInfo{
			Uid: 31, Gid: 32, Suid: 33, Sgid: 34, Euid: 35, Egid: 36, Fsuid: 37, Fsgid: 38, Securebits: 39, UserNs: 0xffffffff,
			Inheritable: 1 << 40, Permitted: 1<<40 | 1, Effective: 1,
		},
		UserNs:     bpf.WireUserNsInfo{Level: 3, Owner: 41, Group: 42, Inum: 0xffffffff},
		Namespaces: [10]uint32{51, 52, 53, 54, 55, 56, 57, 58, 59, 60},
	}
}

func state() State {
	return State{
		UID: 31, GID: 32, SUID: 33, SGID: 34, EUID: 35, EGID: 36, FSUID: 37, FSGID: 38, SecureBits: 39,
		Inheritable: 1 << 40, Permitted: 1<<40 | 1, Effective: 1, UserNSLevel: 3, UserNSOwner: 41, UserNSGroup: 42,
		Namespaces: [10]uint32{51, 52, 53, 54, 55, 56, 57, 58, 59, 60},
	}
}

func withEnv(e bpf.WireEventExec, length uint16) bpf.WireEventExec {
	e.EnvLen = length
	return e
}

func execWithEnv(e *Exec, env ...string) *Exec {
	e.Env = env
	return e
}

func wireExec(binaryLen, argsLen, cwdLen uint16, flags bpf.WireExecFlags) bpf.WireEventExec {
	return bpf.WireEventExec{
		H: wireHeader(bpf.WireEventTypeEVENT_EXEC), ParentStart: 21, ParentTgid: 22, Auid: 23, Flags: uint32(flags),
		BinaryLen: binaryLen, ArgsLen: argsLen, CwdLen: cwdLen, Nspid: 24,
		Tree: 2, TextSize: [2]uint32{25, 26}, Links: 27, Data: 28, Inode: 29, State: wireState(),
	}
}

func exec(flags bpf.WireExecFlags, binary string, args []string, cwd string) *Exec {
	return &Exec{
		Header: header(), Parent: Parent{Tgid: 22, Start: 21}, AUID: 23, NSPid: 24, Flags: flags,
		Tree: bpf.WireInitTreeINIT_TREE_OUT, ArgsSize: 25, EnvSize: 26, Links: 27, Data: 28, Inode: 29, State: state(),
		Binary: binary, Args: args, Cwd: cwd,
	}
}

func wireSite(lengths [6]uint32) bpf.WireEventSite {
	return bpf.WireEventSite{
		H: wireHeader(bpf.WireEventTypeEVENT_SITE), Site: 41, Version: 42,
		Regs: [bpf.WireLimitsREADS_MAX]uint64{1, 2, 3, 4, 5, 6, 7, 1 << 63}, StringLen: lengths, AtExit: 1, Data: 43,
		Posted: bpf.WireRuleBits{Word: [8]uint64{1, 7: 1 << 63}}, Signalled: bpf.WireRuleBits{Word: [8]uint64{2: 4}},
		Overridden: bpf.WireRuleBits{Word: [8]uint64{3: 8}}, Notified: bpf.WireRuleBits{Word: [8]uint64{4: 16}}, Mode: [6]uint32{1, 2, 3, 4, 5, 6}, Unreadable: 1<<23 | 2,
		Returned: 1, Silent: bpf.WireRuleBits{Word: [8]uint64{6: 64}}, ReturnSignalled: bpf.WireRuleBits{Word: [8]uint64{5: 32}},
	}
}

func site(strings [6]String) *Site {
	for i := range strings {
		strings[i].Mode = uint32(i + 1)
	}
	return &Site{
		Header: header(), Site: 41, Version: 42, Regs: [bpf.WireLimitsREADS_MAX]uint64{1, 2, 3, 4, 5, 6, 7, 1 << 63}, Strings: strings,
		Unreadable: 1<<23 | 2, AtExit: true, Data: 43, Posted: RuleBits{1, 7: 1 << 63}, Signalled: RuleBits{2: 4},
		Overridden: RuleBits{3: 8}, Notified: RuleBits{4: 16},
		Returned: true, Silent: RuleBits{6: 64}, ReturnSignalled: RuleBits{5: 32},
	}
}

func withStacks(e bpf.WireEventSite, kernel, user uint16) bpf.WireEventSite {
	e.KernelStack, e.UserStack, e.FileHash = kernel, user, 5
	return e
}

func siteWithStacks(e *Site, kernel, user []uint64) *Site {
	e.KernelStack, e.UserStack, e.FileHash.Algorithm = kernel, user, 5
	for i := range e.FileHash.Bytes {
		e.FileHash.Bytes[i] = 'h'
	}
	return e
}

const unreadable, truncated = uint32(bpf.WireStringStatusSTRING_UNREADABLE), uint32(bpf.WireStringStatusSTRING_TRUNCATED)

type wellFormed struct {
	name   string
	record []byte
	want   Event
}

func wellFormedRecords(tb testing.TB) []wellFormed {
	long := strings.Repeat("x", 4095)
	sealed := bpf.WireEventCgroup{
		H: wireHeader(bpf.WireEventTypeEVENT_CGROUP_SEALED), Slot: 31, By: 2, Id: 32, Path: wirePath("/a/b\xff"),
	}
	gone := bpf.WireEventCgroup{H: wireHeader(bpf.WireEventTypeEVENT_CGROUP_GONE), Slot: 31, Id: 32}
	fork := bpf.WireEventFork{H: wireHeader(bpf.WireEventTypeEVENT_FORK), ParentStart: 21, ParentTgid: 22, Nspid: 0xfffffffe, Tree: 1, MakerTgid: 24, MakerStart: 25, State: wireState()}
	exit := bpf.WireEventExit{H: wireHeader(bpf.WireEventTypeEVENT_EXIT), Code: 0x8b, Pad: 0xffffffff}
	noText := bpf.WireExecFlagsEXEC_BINARY_TRUNCATED | bpf.WireExecFlagsEXEC_ARGS_UNREADABLE | bpf.WireExecFlagsEXEC_CWD_TRUNCATED
	return []wellFormed{
		{"cgroup sealed", encode(tb, sealed), &CgroupSealed{header(), 31, bpf.WireSealedBySEALED_BY_PATTERN, 32, "/a/b\xff"}},
		{"cgroup gone", encode(tb, gone), &CgroupGone{header(), 31, 32}},
		{"fork", encode(tb, fork), &Fork{header(), Parent{Tgid: 22, Start: 21}, Parent{Tgid: 24, Start: 25}, 0xfffffffe, bpf.WireInitTreeINIT_TREE_IN, state()}},
		{"exit", encode(tb, exit), &Exit{header(), 0x8b}},
		{"task unsealed", encode(tb, wireHeader(bpf.WireEventTypeEVENT_TASK_UNSEALED)), &TaskUnsealed{header()}},
		{"armed", encode(tb, wireHeader(bpf.WireEventTypeEVENT_ARMED)), &Armed{header()}},
		{
			"exec with arguments", encode(tb, wireExec(7, 10, 4, 0), "/bin/sh", "sh\x00-c\x00a b\x00", "/tmp"),
			exec(0, "/bin/sh", []string{"sh", "-c", "a b"}, "/tmp"),
		},
		{
			"exec with environment", encode(tb, withEnv(wireExec(2, 2, 1, 48), 12), "/x", "x\x00", "/", "A=1\x00\x00BC=d=e\x00"),
			execWithEnv(exec(bpf.WireExecFlagsEXEC_ENV_TRUNCATED|bpf.WireExecFlagsEXEC_ENV_UNREADABLE, "/x", []string{"x"}, "/"), "A=1", "", "BC=d=e"),
		},
		{
			"exec with empty arguments", encode(tb, wireExec(2, 3, 1, 0), "/x", "\x00\x00\x00", "/"),
			exec(0, "/x", []string{"", "", ""}, "/"),
		},
		{
			"exec with cut arguments", encode(tb, wireExec(2, 5, 1, 2), "/x", "x\x00abc", "/"),
			exec(bpf.WireExecFlagsEXEC_ARGS_TRUNCATED, "/x", []string{"x", "abc"}, "/"),
		},
		{"exec without text", encode(tb, wireExec(0, 0, 0, noText)), exec(noText, "", nil, "")},
		{
			"exec with the longest text", encode(tb, withEnv(wireExec(4095, 4095, 4095, 0), 4095), long, long, long, long),
			execWithEnv(exec(0, long, []string{long}, long), long),
		},
		{
			"site", encode(tb, wireSite([6]uint32{3, unreadable, 0, truncated, 2}), "abc", "de"),
			site([6]String{{Value: "abc"}, {Status: StringUnreadable}, {}, {Status: StringTruncated}, {Value: "de"}}),
		},
		{
			"site with the longest strings",
			encode(tb, wireSite([6]uint32{4095, 4095, 4095, 4095, 4095}), long, long, long, long, long),
			site([6]String{{Value: long}, {Value: long}, {Value: long}, {Value: long}, {Value: long}}),
		},
		{
			"site with stacks and a hash",
			encode(tb, withStacks(wireSite([6]uint32{3}), 16, 8), "abc", "\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x80", "\x03\x00\x00\x00\x00\x00\x00\x00", strings.Repeat("h", 64)),
			siteWithStacks(site([6]String{{Value: "abc"}}), []uint64{1, 1<<63 | 2}, []uint64{3}),
		},
		{
			"data", encode(tb, bpf.WireEventData{H: wireHeader(bpf.WireEventTypeEVENT_DATA), Id: 43, String: 5, Offset: 4095, Len: 3, Pad: 0xffffffff}, "ab\x00"),
			&Data{header(), 43, 5, 4095, "ab\x00"},
		},
		{"site without strings", encode(tb, wireSite([6]uint32{})), site([6]String{})},
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, test := range wellFormedRecords(t) {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			record := slices.Clone(test.record)
			got, err := Decode(record)
			if err != nil {
				t.Fatal(err)
			}
			// The ring reuses its memory.
			for i := range record {
				record[i] = 0xa5
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

// TestDecodeRefusesOtherLengths cuts and extends every record, with the header's
// size as it was and made to fit.
func TestDecodeRefusesOtherLengths(t *testing.T) {
	t.Parallel()
	for _, test := range wellFormedRecords(t) {
		lengths := []int{len(test.record) - 1, len(test.record) + 1, len(test.record) + 4096}
		for n := range min(len(test.record), 512) {
			lengths = append(lengths, n)
		}
		for _, n := range lengths {
			record := append(slices.Clone(test.record), make([]byte, 4096)...)[:n]
			if _, err := Decode(record); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s of %d bytes, not %d: error %v", test.name, n, len(test.record), err)
			}
			if n < 8 {
				continue
			}
			binary.LittleEndian.PutUint32(record[4:], uint32(n))
			if _, err := Decode(record); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s of %d bytes, not %d, and saying so: error %v", test.name, n, len(test.record), err)
			}
		}
	}
}

// TestDecoderForgets: what an event has is its own, whatever came before it.
func TestDecoderForgets(t *testing.T) {
	t.Parallel()
	var d Decoder
	all := wellFormedRecords(t)
	for _, before := range all {
		for _, r := range all {
			if _, err := d.Decode(before.record); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Decode(before.record[:len(before.record)-1]); err == nil {
				t.Fatalf("%s: no error for a part of it", before.name)
			}
			got, err := d.Decode(r.record)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(r.want, got); diff != "" {
				t.Fatalf("%s after %s: want -, got +:\n%s", r.name, before.name, diff)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	endless := bpf.WireEventCgroup{H: wireHeader(bpf.WireEventTypeEVENT_CGROUP_SEALED), Path: wirePath(strings.Repeat("x", 512))}
	resized := encode(t, wireHeader(bpf.WireEventTypeEVENT_ARMED))
	resized[4]++
	sealer := bpf.WireEventCgroup{H: wireHeader(bpf.WireEventTypeEVENT_CGROUP_SEALED), By: 4}
	for _, test := range []struct {
		name   string
		record []byte
		want   string
	}{
		{"nothing", nil, "0 bytes"},
		{"another size in the header", resized, "48 bytes, header says 49"},
		{"type 0", encode(t, wireHeader(0)), "type 0: unknown"},
		{"type above the last", encode(t, wireHeader(9)), "type 9: unknown"},
		{"path without end", encode(t, endless), "no end"},
		{"unknown sealer", encode(t, sealer), "sealer 4"},
		{"string of 4096 bytes", encode(t, wireSite([6]uint32{4096}), strings.Repeat("x", 4096)), "string 0 has 4096"},
		{"lengths that overflow", encode(t, wireSite([6]uint32{0xfffffffd, 3})), "string 0 has"},
		{"half an address", encode(t, withStacks(wireSite([6]uint32{}), 4, 0), "four"), "stack has 4 bytes"},
		{"stack too long", encode(t, withStacks(wireSite([6]uint32{}), 0, 1024), strings.Repeat("x", 1024)), "stack has 1024 bytes"},
		{"hash that is not there", encode(t, withStacks(wireSite([6]uint32{}), 0, 0)), "0 bytes where there should be 64"},
		{"data of no string", encode(t, bpf.WireEventData{H: wireHeader(bpf.WireEventTypeEVENT_DATA), String: 6}), "data of string 6"},
		{"exec of an unknown relation", encode(t, bpf.WireEventExec{H: wireHeader(bpf.WireEventTypeEVENT_EXEC), Tree: 3}), "relation to init 3"},
		{"fork of an unknown relation", encode(t, bpf.WireEventFork{H: wireHeader(bpf.WireEventTypeEVENT_FORK), Tree: 3}), "relation to init 3"},
		{"environment longer than the record", encode(t, withEnv(wireExec(2, 0, 0, 0), 0xffff), "/x"), "2 bytes where there should be 65537"},
		{"binary longer than the record", encode(t, wireExec(0xffff, 0, 0, 0), "/x"), "2 bytes where there should be 65535"},
	} {
		_, err := Decode(test.record)
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
}

func TestSizesAreTheKernels(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		got  int
		wire any
	}{
		{headerSize, bpf.WireEventHeader{}},
		{cgroupSize, bpf.WireEventCgroup{}},
		{forkSize, bpf.WireEventFork{}},
		{execSize, bpf.WireEventExec{}},
		{exitSize, bpf.WireEventExit{}},
		{siteSize, bpf.WireEventSite{}},
		{dataSize, bpf.WireEventData{}},
	} {
		if want := binary.Size(test.wire); test.got != want {
			t.Errorf("size %d, but %T has %d", test.got, test.wire, want)
		}
	}
}

func TestRuleBits(t *testing.T) {
	t.Parallel()
	for _, want := range [][]int{nil, {0}, {511}, {0, 1, 63, 64, 127, 128, 510, 511}} {
		var b RuleBits
		for _, rule := range want {
			b[rule/64] |= 1 << (rule % 64)
		}
		if got := slices.Collect(b.All()); !slices.Equal(got, want) {
			t.Errorf("All() = %v, want %v", got, want)
		}
		for rule := -1; rule <= 512; rule++ {
			if got := b.Has(rule); got != slices.Contains(want, rule) {
				t.Errorf("%v: Has(%d) = %v", want, rule, got)
			}
		}
		for rule := range b.All() {
			if rule != want[0] {
				t.Errorf("first of %v is %d", want, rule)
			}
			break
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, r := range wellFormedRecords(f) {
		f.Add(r.record)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		record = slices.Clone(record)
		if len(record) >= 8 {
			// Past the first check, which no mutation would find.
			binary.LittleEndian.PutUint32(record[4:], uint32(len(record)))
		}
		first, err := Decode(record)
		if err != nil {
			if first != nil || !errors.Is(err, ErrMalformed) {
				t.Fatalf("Decode = %v, %v", first, err)
			}
			return
		}
		second, err := Decode(slices.Clone(record))
		if err != nil {
			t.Fatal(err)
		}
		for i := range record {
			record[i] ^= 0xff
		}
		if diff := cmp.Diff(second, first); diff != "" {
			t.Fatalf("the event changed with the record:\n%s", diff)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, r := range wellFormedRecords(b) {
		if strings.Contains(r.name, "longest") {
			continue
		}
		b.Run(strings.ReplaceAll(r.name, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			var d Decoder
			for b.Loop() {
				if _, err := d.Decode(r.record); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
