// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Programs of two threads that end one after the other, each by itself (exit, not
// exit_group), which no library lets them. Their memory is code, a word that the kernel
// clears at the end of a thread, and a stack for the second.
const (
	// set_tid_address(&word); clone(VM|FS|FILES|SIGHAND|THREAD, &stack_end) == 0 goes on
	// at 0x39; exit(3). 0x39: until word is 0; exit(4)
	leaderFirst = "488d3d59000000 b8da000000 0f05 bf000f0100 488d3596000000 31d2 4531d2 4531c0 b838000000 0f05 85c0 740c " +
		"bf03000000 b83c000000 0f05 8b0521000000 f390 85c0 75f4 bf04000000 b83c000000 0f05 " +
		"000000000000000000000000000000 01000000"
	// clone(VM|FS|FILES|SIGHAND|THREAD|CHILD_CLEARTID, &stack_end, 0, &word) == 0 goes on
	// at 0x3b; until word is 0; exit(3). 0x3b: exit(4)
	leaderLast = "bf000f2100 488d3594000000 31d2 4c8d153b000000 4531c0 b838000000 0f05 85c0 7418 " +
		"8b0527000000 f390 85c0 75f4 bf03000000 b83c000000 0f05 bf04000000 b83c000000 0f05 " +
		"000000000000000000 01000000"
)

// image is an executable of one segment that holds code.
func image(t *testing.T, code string) []byte {
	t.Helper()
	text, err := hex.DecodeString(strings.ReplaceAll(code, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	const base, size = 0x400000, 64 + 56
	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Entry: base + size,
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	copy(header.Ident[:], "\x7fELF\x02\x01\x01")
	segment := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W | elf.PF_X), Vaddr: base, Paddr: base,
		Filesz: uint64(size + len(text)), Memsz: 4096, Align: 4096,
	}
	var file bytes.Buffer
	for _, part := range []any{header, segment, text} {
		if err := binary.Write(&file, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return file.Bytes()
}

// Whichever thread is the last: the process ends once, and with the status that its
// parent gets. Which of the two that is the kernel has changed (Linux 5.18).
func TestExitsOfThreads(t *testing.T) {
	r := newRig(t, nil)
	for name, code := range map[string]string{"the leader first": leaderFirst, "the leader last": leaderLast} {
		t.Run(name, func(t *testing.T) {
			in, slot := r.expected(strings.ReplaceAll(name, " ", "-"))
			path := filepath.Join(t.TempDir(), "threads")
			if err := os.WriteFile(path, image(t, code), 0o700); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				p := start(t, in.Born(exec.CommandContext(t.Context(), path)))
				checkExit(r, slot, p, func(s syscall.WaitStatus) bool { return s.ExitStatus() == 3 || s.ExitStatus() == 4 })
			}
		})
	}
}
