// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

const kallsyms = `ffffffff81000000 T _stext
ffffffff81000000 t alias
ffffffff81000100 t second
ffffffff81000080 W weak
ffffffff81000090 D data
0000000000000000 t hidden
ffffffffc0000000 t first	[mod]
ffffffffc0000010 T last	[mod]
ffffffffc0002000 t bpf_prog_0123456789abcdef_f	[bpf]
not a line
`

func TestKernelFunctionsAreFound(t *testing.T) {
	t.Parallel()
	k := kernelTable{table: parseKallsyms(kallsyms)}
	for _, c := range []struct {
		address  uint64
		returned bool
		want     Frame
	}{
		{0xffffffff81000000, false, Frame{Symbol: "_stext"}},
		{0xffffffff8100007f, false, Frame{Symbol: "_stext", Offset: 0x7f}},
		{0xffffffff81000080, true, Frame{Symbol: "_stext", Offset: 0x80}},
		{0xffffffff81000080, false, Frame{Symbol: "weak"}},
		{0xffffffff81000095, false, Frame{Symbol: "weak", Offset: 0x15}},
		{0xffffffff81000200, false, Frame{Symbol: "second", Offset: 0x100}},
		{0xffffffffc0000008, false, Frame{Symbol: "first", Module: "mod", Offset: 8}},
		{0xffffffffc000100f, false, Frame{Symbol: "last", Module: "mod", Offset: 0xfff}},
		// Behind the end of what is known there are others.
		{0xffffffffc0001010, false, Frame{}},
		{0xffffffffc0002004, false, Frame{}},
		{0xffffffff80000000, false, Frame{}},
		{0, true, Frame{}},
	} {
		if got := k.frame(c.address, c.returned); got != c.want {
			t.Errorf("%#x: %+v, want %+v", c.address, got, c.want)
		}
	}
}

func TestKernelTableFollowsModules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k := kernelTable{symbols: filepath.Join(dir, "kallsyms"), list: filepath.Join(dir, "modules")}
	now := time.Now()
	k.refresh(now)
	if k.table != nil {
		t.Fatalf("symbols of nothing: %+v", k.table)
	}
	write("kallsyms", kallsyms)
	write("modules", "mod 4096 1 - Live 0xffffffffc0000000\n")
	for _, step := range []struct {
		what    string
		do      func()
		symbols int
	}{
		{"asked not long ago", func() {}, 0},
		{"there", func() { now = now.Add(refreshEvery) }, 7},
		{"another user", func() {
			write("modules", "mod 4096 2 - Live 0xffffffffc0000000\n")
			write("kallsyms", "")
			now = now.Add(refreshEvery)
		}, 7},
		{"moved", func() {
			write("modules", "mod 4096 1 - Live 0xffffffffc1000000\n")
			now = now.Add(refreshEvery)
		}, 0},
	} {
		step.do()
		k.refresh(now)
		if len(k.table) != step.symbols {
			t.Errorf("%s: %d symbols, want %d", step.what, len(k.table), step.symbols)
		}
	}
}

// Frames of programs come first and are left out; others without a name are not.
func TestFramesOfProgramsAreLeftOut(t *testing.T) {
	t.Parallel()
	for _, addresses := range []bool{false, true} {
		s := New(Options{Proc: "/no/such", Addresses: addresses})
		s.kernel.table, s.kernel.asked = parseKallsyms(kallsyms), time.Now()
		got := s.Kernel([]uint64{0xffffffffc0002004, 0xffffffff81000085, 0xffffffffc0002005, 0xffffffff81000101})
		if len(got) != 3 || got[0].Symbol != "weak" || got[1].Symbol != "" || got[2].Symbol != "second" {
			t.Errorf("frames %+v", got)
		}
		for _, f := range got {
			if (f.Address != 0) != addresses {
				t.Errorf("addresses %v: %+v", addresses, f)
			}
		}
	}
}
