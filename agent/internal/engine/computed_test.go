// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/expression"
	"github.com/boltseal/boltseal/bpf"
)

// Texts of calls are searched to their ends, and another policy that searches the same
// text needs no other program.
func TestTextsOfCallsAreSearched(t *testing.T) {
	b := newBench(t)
	searches := func(op, values string) PolicyID {
		return b.load(b.policy(`  - {subsystem: syscalls, event: sys_enter_chroot, args: [{index: 5, type: string}],
     selectors: [{matchArgs: [{index: 5, operator: Prefix, values: ["$M"]}, {index: 5, operator: ` + op + `, values: [` + values + `]}]}]}
`))
	}
	plain := searches("SubString", "'no', 'nEEdle'")
	site := b.sites[compile.Site{Kind: compile.Tracepoint, Subsystem: "syscalls", Name: "sys_enter_chroot"}]
	before := site.program
	other := searches("SubString", "'dle9', 'EEd'")
	if site.program != before {
		t.Error("the program was replaced for another substring")
	}
	folded := searches("SubStringIgnCase", "'NeEdLe9'")
	b.apply(Member{plain, true}, Member{other, true}, Member{folded, true})
	end := strings.Repeat("/x", (4095-len(b.marker))/2-4)
	for _, c := range []struct {
		text string
		want [3]uint64
	}{
		{"/nEEdle", [3]uint64{1, 1, 0}},
		{end + "nEEdle9", [3]uint64{2, 2, 1}},
		{end + "NEEDLE9", [3]uint64{2, 2, 2}},
		{"/n/EEdle", [3]uint64{2, 3, 2}},
		{"", [3]uint64{2, 3, 2}},
	} {
		if err := unix.Chroot(b.marker + c.text); err == nil {
			t.Fatal("chroot of what does not exist")
		}
		got := [3]uint64{b.counters(plain).Post, b.counters(other).Post, b.counters(folded).Post}
		if got != c.want {
			t.Errorf("after a text of %d bytes that ends with %q: %v matched, want %v", len(c.text), c.text[max(0, len(c.text)-9):], got, c.want)
		}
	}
}

// Expressions and sets of capabilities are computed from the arguments of calls.
func TestArgumentsOfCallsAreComputed(t *testing.T) {
	b := newBench(t)
	const base = 0x7abc1230 // no descriptor that a process has
	hook := func(typ, filter string) PolicyID {
		return b.load(b.policy(fmt.Sprintf(`  - {subsystem: syscalls, event: sys_enter_dup3, args: [{index: 5, type: %s}, {index: 6, type: %s}],
     selectors: [{matchPIDs: [{operator: In, values: [%d]}], matchArgs: [%s]}]}
`, typ, typ, os.Getpid(), filter)))
	}
	ids := []PolicyID{
		hook("int", fmt.Sprintf("{operator: CelExpr, values: ['arg1 - arg0 == int32(1) && arg0 >= int32(%d)']}", base)),
		hook("uint32", fmt.Sprintf("{operator: CelExpr, values: ['and(arg0, uint32(15)) == uint32(3)', 'arg1 == uint32(%d)']}", base)),
		hook("uint64", fmt.Sprintf("{args: [1, 0], operator: CapabilitiesGained, values: [CAP_CHOWN, 2]}, {index: 5, operator: GT, values: [%d]}", base)),
		hook("uint64", fmt.Sprintf("{args: [1, 0], operator: CapabilitiesGained}, {index: 5, operator: GT, values: [%d]}", base)),
	}
	var set []Member
	for _, id := range ids {
		set = append(set, Member{id, true})
	}
	b.apply(set...)
	want := [4]uint64{}
	for _, c := range []struct {
		from, to int
		matches  [4]uint64
	}{
		{base + 2, base + 3, [4]uint64{1, 0, 1, 1}},
		{base + 3, base + 2, [4]uint64{0, 1, 0, 0}},
		{base + 4, base, [4]uint64{0, 1, 0, 0}},
		{base + 1, base + 9, [4]uint64{0, 0, 0, 1}},
		{base + 1, base + 5, [4]uint64{0, 0, 1, 1}},
	} {
		if err := unix.Dup3(c.from, c.to, 0); !errors.Is(err, unix.EBADF) {
			t.Fatalf("dup3 of no descriptor: %v", err)
		}
		for i, id := range ids {
			want[i] += c.matches[i]
			if got := b.counters(id).Post; got != want[i] {
				t.Errorf("policy %d matched %d times after dup3(%#x, %#x), want %d", i, got, c.from, c.to, want[i])
			}
		}
	}
}

// The type of a file is known by its descriptor; a descriptor of nothing is of no type,
// which rules that enforce take for theirs.
func TestTypesOfFilesAreKnown(t *testing.T) {
	b := newBench(t)
	hook := func(op, types, actions string) PolicyID {
		return b.load(b.policy(fmt.Sprintf(`  - {subsystem: syscalls, event: sys_enter_fchdir, args: [{index: 5, type: fd}],
     selectors: [{matchPIDs: [{operator: In, values: [%d]}], matchArgs: [{index: 5, operator: %s, values: [%s]}], matchActions: [%s]}]}
`, os.Getpid(), op, types, actions)))
	}
	ids := []PolicyID{hook("FileType", "reg, sock", post), hook("NotFileType", "regular", post), hook("FileType", "dir", wink)}
	b.apply(Member{ids[0], true}, Member{ids[1], true}, Member{ids[2], true})
	want := [3]uint64{}
	for _, c := range []struct {
		path    string
		matches [3]uint64
	}{
		{"/proc/self/exe", [3]uint64{1, 0, 0}}, {".", [3]uint64{0, 1, 1}}, {"/dev/null", [3]uint64{0, 1, 0}}, {"", [3]uint64{0, 0, 1}},
	} {
		fd := -1
		if c.path != "" {
			f, err := os.Open(c.path)
			if err != nil {
				t.Fatal(err)
			}
			fd = int(f.Fd())
			t.Cleanup(func() { _ = f.Close() })
		}
		_ = unix.Fchdir(fd)
		for i, id := range ids {
			want[i] += c.matches[i]
			if got := b.counters(id).Post; got != want[i] {
				t.Errorf("policy %d matched %d times after %q, want %d", i, got, c.path, want[i])
			}
		}
	}
}

// A site has room for so much code; a policy with more is refused, and stays out.
func TestExpressionsOfOneSite(t *testing.T) {
	b := newBench(t)
	long := strings.Repeat("arg0 == %[1]du || ", 30) + "false"
	for i := range 5 {
		p := b.policy("  - {subsystem: syscalls, event: sys_enter_dup3, args: [{index: 5, type: uint64}], selectors: [{matchArgs: [" +
			"{operator: CelExpr, values: ['" + fmt.Sprintf(long, i) + "']}]}]}\n")
		if _, err := b.Load(p); i < 4 != (err == nil) || err != nil && !errors.Is(err, compile.ErrNoRoom) {
			t.Fatalf("policy %d: %v", i, err)
		}
	}
}

// The programs and the compiler have the same numbers for instructions.
func TestInstructionsAreTheSame(t *testing.T) {
	t.Parallel()
	for op, wire := range map[expression.Op]bpf.WireExpressionOp{
		expression.OpConstant: bpf.WireExpressionOpEXPRESSION_CONSTANT, expression.OpArg: bpf.WireExpressionOpEXPRESSION_WORD,
		expression.OpAdd: bpf.WireExpressionOpEXPRESSION_ADD, expression.OpSubtract: bpf.WireExpressionOpEXPRESSION_SUBTRACT,
		expression.OpAnd: bpf.WireExpressionOpEXPRESSION_AND, expression.OpOr: bpf.WireExpressionOpEXPRESSION_OR,
		expression.OpXor: bpf.WireExpressionOpEXPRESSION_XOR, expression.OpEqual: bpf.WireExpressionOpEXPRESSION_EQUAL,
		expression.OpNotEqual: bpf.WireExpressionOpEXPRESSION_NOT_EQUAL, expression.OpLess: bpf.WireExpressionOpEXPRESSION_LESS,
		expression.OpLessEqual:       bpf.WireExpressionOpEXPRESSION_LESS_EQUAL,
		expression.OpLessSigned:      bpf.WireExpressionOpEXPRESSION_LESS_SIGNED,
		expression.OpLessEqualSigned: bpf.WireExpressionOpEXPRESSION_LESS_EQUAL_SIGNED,
		expression.OpSigned32:        bpf.WireExpressionOpEXPRESSION_SIGNED32, expression.OpUnsigned32: bpf.WireExpressionOpEXPRESSION_UNSIGNED32,
	} {
		if int(op) != int(wire) {
			t.Errorf("instruction %d is %d of the programs", op, wire)
		}
	}
	if expression.MaxCode != int(bpf.WireLimitsEXPRESSION_MAX) || expression.MaxStack != int(bpf.WireLimitsEXPRESSION_STACK) {
		t.Error("limits of expressions differ")
	}
}
