// SPDX-License-Identifier: Apache-2.0

package canary

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestProgramIsStatic(t *testing.T) {
	t.Parallel()
	for goarch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		text, err := program(goarch)
		if err != nil {
			t.Fatal(err)
		}
		file, err := elf.NewFile(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", goarch, err)
		}
		p := file.Progs[0]
		if file.Machine != machine || file.Type != elf.ET_EXEC || len(file.Progs) != 1 || p.Type != elf.PT_LOAD ||
			p.Flags != elf.PF_R|elf.PF_X || p.Filesz != uint64(len(text)) || file.Entry < p.Vaddr || file.Entry >= p.Vaddr+p.Memsz {
			t.Errorf("%s: %+v with %+v", goarch, file.FileHeader, p.ProgHeader)
		}
	}
	if _, err := program("s390x"); err == nil {
		t.Error("a program for an architecture that nobody wrote one for")
	}
}

// TestProgram runs it on the host: it waits at its pipe, and tells what became of
// its act.
func TestProgram(t *testing.T) {
	t.Parallel()
	text, err := program(runtime.GOARCH)
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	path, gate, there := filepath.Join(dir, "canary"), filepath.Join(dir, "go"), filepath.Join(dir, "there")
	for file, mode := range map[string]os.FileMode{path: 0o700, there: 0o600} {
		if err := os.WriteFile(file, text, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		act  string
		want int
	}{{there, 0}, {filepath.Join(dir, "none"), int(unix.ENOENT)}, {filepath.Join(there, "below"), int(unix.ENOTDIR)}} {
		cmd := exec.CommandContext(t.Context(), path, gate, test.act)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		var open *os.File
		if err := poll(t.Context(), time.Millisecond, func() bool { open = openGate(gate); return open != nil || len(ended) > 0 }); err != nil || open == nil {
			t.Fatalf("it did not wait: %v", err)
		}
		select {
		case err := <-ended:
			t.Fatalf("ended before it was released: %v", err)
		default:
		}
		open.Close()
		var exit *exec.ExitError
		if err := <-ended; err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != test.want {
			t.Errorf("open %s: exit status %d, want %d", test.act, got, test.want)
		}
	}
}
