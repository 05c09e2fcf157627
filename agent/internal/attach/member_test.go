// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/test/testenv"
)

// person is a structure with everything that a path can lead through.
func person() *btf.Struct {
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Char}
	i32 := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	u64 := &btf.Typedef{Name: "u64", Type: &btf.Int{Name: "unsigned long", Size: 8}}
	text := &btf.Pointer{Target: &btf.Const{Type: char}}
	id := &btf.Typedef{Name: "kuid_t", Type: &btf.Struct{Size: 4, Members: []btf.Member{{Name: "val", Type: i32}}}}
	base := &btf.Struct{Name: "sock", Size: 16, Members: []btf.Member{{Name: "mark", Type: i32}, {Name: "id", Type: id, Offset: 64}}}
	p := &btf.Struct{Name: "person", Size: 512}
	bits := func(offset uint32) btf.Bits { return btf.Bits(8 * offset) }
	p.Members = []btf.Member{
		{Name: "base", Type: base},
		{Name: "name", Type: &btf.Array{Type: char, Nelems: 16}, Offset: bits(16)},
		{Name: "nick", Type: text, Offset: bits(32)},
		{Name: "parent", Type: &btf.Pointer{Target: &btf.Volatile{Type: p}}, Offset: bits(40)},
		{Name: "pairs", Type: &btf.Array{Type: &btf.Array{Type: u64, Nelems: 2}, Nelems: 3}, Offset: bits(48)},
		{Name: "friends", Type: &btf.Pointer{Target: &btf.Pointer{Target: p}}, Offset: bits(96)},
		{Type: &btf.Union{Size: 8, Members: []btf.Member{
			{Name: "count", Type: u64},
			{Type: &btf.Struct{Size: 8, Members: []btf.Member{{Name: "low", Type: i32}, {Name: "high", Type: i32, Offset: 32}}}},
		}}, Offset: bits(104)},
		{Name: "flag", Type: &btf.Int{Name: "unsigned int", Size: 4}, Offset: bits(112) + 3, BitfieldSize: 1},
		{Name: "wide", Type: i32, Offset: bits(112) + 20, BitfieldSize: 7},
		{Name: "torn", Type: i32, Offset: bits(112) + 30, BitfieldSize: 9},
		{Name: "hidden", Type: &btf.Pointer{Target: &btf.Fwd{Name: "secret"}}, Offset: bits(128)},
		{Name: "id", Type: id, Offset: bits(136)},
		{Name: "anything", Type: &btf.Pointer{Target: &btf.Void{}}, Offset: bits(144)},
		{Name: "alike", Type: &btf.Pointer{Target: &btf.Struct{Name: "inet_sock", Size: 32, Members: []btf.Member{{Name: "sk", Type: base}}}}, Offset: bits(152)},
		{Name: "tail", Type: &btf.Array{Type: &btf.Struct{Name: "pair", Size: 16, Members: []btf.Member{{Name: "second", Type: u64, Offset: 64}}}}, Offset: bits(160)},
		{Name: "names", Type: &btf.Pointer{Target: text}, Offset: bits(168)},
	}
	return p
}

func TestMember(t *testing.T) {
	t.Parallel()
	integer := func(name string, size int, signed bool, offsets ...uint32) compile.Member {
		return compile.Member{Param: compile.Param{Name: name, Size: size, Signed: signed}, Bytes: size, Offsets: offsets}
	}
	text := func(name string, offsets ...uint32) compile.Member {
		return compile.Member{Param: compile.Param{Name: name, Struct: "char"}, Bytes: 8, Offsets: offsets}
	}
	bit := func(name string, bytes int, signed bool, shift, bits int, offset uint32) compile.Member {
		m := integer(name, bytes, signed, offset)
		m.Shift, m.Bits = shift, bits
		return m
	}
	inline := func(name string, bytes int, begins []string, offsets ...uint32) compile.Member {
		m := compile.Member{Param: compile.Param{Name: name}, Inline: true, Bytes: bytes, Begins: begins, Offsets: offsets}
		if len(begins) > 0 {
			m.Struct = begins[0]
		}
		return m
	}
	comm := inline("name", 16, nil, 16)
	comm.Struct = "char"
	for path, want := range map[string]compile.Member{
		"name":                    comm,
		"nick":                    text("nick", 32),
		"parent.nick":             text("nick", 40, 32),
		"parent.parent.base.mark": integer("mark", 4, true, 40, 40, 0),
		"base.id.val":             integer("val", 4, true, 8),
		"base":                    inline("base", 16, []string{"sock"}, 0),
		"id":                      inline("id", 4, []string{"kuid_t"}, 136),
		"pairs[2][1]":             integer("pairs", 8, false, 48+32+8),
		"pairs.[1].[0]":           integer("pairs", 8, false, 48+16),
		"pairs[1]":                inline("pairs", 16, nil, 64),
		"friends[3].nick":         text("nick", 96, 24, 32),
		"friends.nick":            text("nick", 96, 0, 32),
		"parent[2].nick":          text("nick", 40, 2*512+32),
		"[1].nick":                text("nick", 512+32),
		"count":                   integer("count", 8, false, 104),
		"high":                    integer("high", 4, true, 108),
		"flag":                    bit("flag", 4, false, 3, 1, 112),
		"wide":                    bit("wide", 4, true, 20, 7, 112),
		"torn":                    bit("torn", 4, true, 6, 9, 115),
		"anything":                integer("anything", 8, false, 144),
		"tail[5].second":          integer("second", 8, false, 160+5*16+8),
		"names[2]":                text("names", 168, 16),
		"parent":                  {Param: compile.Param{Name: "parent", Struct: "person"}, Bytes: 8, Begins: []string{"person", "sock"}, Offsets: []uint32{40}},
		"alike":                   {Param: compile.Param{Name: "alike", Struct: "inet_sock"}, Bytes: 8, Begins: []string{"inet_sock", "sock"}, Offsets: []uint32{152}},
	} {
		got, err := Member(&btf.Pointer{Target: person()}, path)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", path, err, diff)
		}
	}
}

func TestMemberFaults(t *testing.T) {
	t.Parallel()
	for path, reason := range map[string]string{
		"nam":             `struct person has no member "nam"; nearest: name, names`,
		"parent.higth":    `struct person has no member "higth"; nearest: high`,
		"base.makr":       `struct sock has no member "makr"; nearest: mark, id`,
		"id.value":        `struct kuid_t has no member "value"; nearest: val`,
		"name.first":      `an array, which has no member "first"`,
		"nick.first":      `char, which has no member "first"`,
		"count.x":         `unsigned long, which has no member "x"`,
		"flag.x":          `flag is a bit field, which has no member "x"`,
		"anything.x":      `memory of no type, which has no member "x"`,
		"hidden.x":        `struct secret, which the kernel's types only name, which has no member "x"`,
		"hidden[1]":       "hidden: elements have no size that is known",
		"name[16]":        "name has 16 elements, and none of index 16",
		"pairs[3]":        "pairs has 3 elements, and none of index 3",
		"pairs[1][2]":     "pairs has 2 elements, and none of index 2",
		"count[1]":        "count is unsigned long, which has no elements",
		"parent[9999999]": "parent: index 9999999 is too far away",
		"a..b":            "empty name",
	} {
		_, err := Member(&btf.Pointer{Target: person()}, path)
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v, want %q", path, err, reason)
		}
	}
	if _, err := Member(&btf.Int{Name: "int", Size: 4}, "a"); err == nil || err.Error() != "int has no members" {
		t.Errorf("path from an int: %v", err)
	}
}

// The types of this kernel and of one of its modules have what everybody knows.
func TestMembersOfThisKernel(t *testing.T) {
	t.Parallel()
	testenv.Require(t, testenv.BTF())
	types, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	p := &Points{types: types}
	comm, err := p.Member(compile.Start{Type: "task_struct"}, "mm.owner.real_parent.comm")
	if err != nil || !comm.Inline || comm.Struct != "char" || comm.Bytes != 16 || len(comm.Offsets) != 4 {
		t.Errorf("comm: %+v, %v", comm, err)
	}
	for _, c := range []struct {
		from         compile.Start
		path, reason string
	}{
		{compile.Start{Type: "task_strukt"}, "comm", "no structure task_strukt in the kernel's types"},
		{compile.Start{Type: "int"}, "comm", "no structure int"},
		{compile.Start{Type: "file", Module: "no_such_module"}, "f_path", "types of module no_such_module, which has to be loaded"},
		{compile.Start{Kind: compile.Kprobe, Name: "no_such_function"}, "a", "does not tell the parameters of no_such_function: name btfType"},
		{compile.Start{Kind: compile.RawTracepoint, Name: "no_such"}, "a", "does not tell the parameters of no_such: name btfType"},
		{compile.Start{Kind: compile.Kprobe, Name: "vfs_read", Param: 9}, "a", "vfs_read has 4 parameters"},
		{compile.Start{Kind: compile.Kprobe, Name: "vfs_read", Param: 2}, "a", "parameter count of vfs_read is"},
		{compile.Start{Kind: compile.Kprobe, Name: "vfs_read", Param: 0}, "f_pth", `struct file has no member "f_pth"; nearest: f_path`},
	} {
		if _, err := p.Member(c.from, c.path); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%+v: %v, want %q", c.from, err, c.reason)
		}
	}
	for _, from := range []compile.Start{
		{Kind: compile.Kprobe, Name: "vfs_read"}, {Kind: compile.LSM, Name: "file_open"},
	} {
		m, err := p.Member(from, "f_path.dentry")
		if err != nil || m.Struct != "dentry" || m.Inline {
			t.Errorf("%+v: %+v, %v", from, m, err)
		}
	}
	m, err := p.Member(compile.Start{Kind: compile.RawTracepoint, Name: "sched_process_exec", Param: 2}, "file.f_path")
	if err != nil || m.Struct != "path" || !m.Inline {
		t.Errorf("raw tracepoint: %+v, %v", m, err)
	}
}

// A module's types are found, those that it shares with the kernel too.
func TestMembersOfAModule(t *testing.T) {
	t.Parallel()
	var module string
	testenv.Require(t, testenv.BTF(), testenv.Optional("a module that describes its types", func() error {
		all, err := filepath.Glob("/sys/kernel/btf/*")
		for _, file := range all {
			if module = filepath.Base(file); module != "vmlinux" {
				return err
			}
		}
		return errors.Join(err, os.ErrNotExist)
	}))
	p := &Points{}
	if m, err := p.Member(compile.Start{Type: "file", Module: module}, "f_path.dentry"); err != nil || m.Struct != "dentry" {
		t.Errorf("module %s: %+v, %v", module, m, err)
	}
}

func TestRegisterNames(t *testing.T) {
	t.Parallel()
	amd64, arm64 := namedAMD64(), namedARM64()
	for name, want := range map[string]compile.Register{
		"rdi": {Offset: 112, Size: 8}, "edi": {Offset: 112, Size: 4}, "di": {Offset: 112, Size: 2}, "dil": {Offset: 112, Size: 1},
		"rax": {Offset: 80, Size: 8}, "al": {Offset: 80, Size: 1}, "r8": {Offset: 72, Size: 8}, "r10d": {Offset: 56, Size: 4},
		"r15": {Offset: 0, Size: 8}, "rip": {Offset: 128, Size: 8}, "rsp": {Offset: 152, Size: 8}, "rbp": {Offset: 32, Size: 8},
	} {
		if amd64[name] != want {
			t.Errorf("amd64 %s: %+v, want %+v", name, amd64[name], want)
		}
	}
	for name, want := range map[string]compile.Register{
		"x0": {Offset: 0, Size: 8}, "w1": {Offset: 8, Size: 4}, "x30": {Offset: 240, Size: 8}, "sp": {Offset: 248, Size: 8}, "pc": {Offset: 256, Size: 8},
	} {
		if arm64[name] != want {
			t.Errorf("arm64 %s: %+v, want %+v", name, arm64[name], want)
		}
	}
}
