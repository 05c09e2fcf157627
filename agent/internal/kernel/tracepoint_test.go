// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// counter is a program that counts how often this process reaches it.
func counter(t *testing.T, kind ebpf.ProgramType) (*ebpf.Program, func() uint64) {
	t.Helper()
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EPERM) {
		t.Skipf("no right to use BPF: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { counts.Close() })
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: kind, License: "GPL", Instructions: asm.Instructions{
		asm.FnGetCurrentPidTgid.Call(),
		asm.RSh.Imm(asm.R0, 32),
		asm.JNE.Imm(asm.R0, int32(os.Getpid()), "out"),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, counts.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	return prog, func() uint64 {
		var n uint64
		if err := counts.Lookup(uint32(0), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
}

func TestAttachTracepoint(t *testing.T) {
	tracefs := openTracefs(t)
	format, err := tracefs.Format("syscalls", "sys_enter_getpgid")
	if errors.Is(err, ErrNoEvent) {
		t.Skip("this kernel has no syscall trace events")
	}
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]func(*ebpf.Program) (io.Closer, error){
		"best": func(p *ebpf.Program) (io.Closer, error) { return AttachTracepoint(p, format.ID) },
		"before_5.15": func(p *ebpf.Program) (io.Closer, error) {
			event, err := openEvent(format.ID)
			if err != nil {
				return nil, err
			}
			return event, attachEvent(event, p)
		},
	}
	for name, attach := range ways {
		t.Run(name, func(t *testing.T) {
			prog, count := counter(t, ebpf.TracePoint)
			call := func(times int) {
				for range times {
					if _, err := unix.Getpgid(0); err != nil {
						t.Fatal(err)
					}
				}
			}
			call(3)
			if got := count(); got != 0 {
				t.Fatalf("%d calls counted before the program is attached", got)
			}
			attached, err := attach(prog)
			if err != nil {
				t.Fatal(err)
			}
			call(100)
			if got := count(); got != 100 {
				t.Errorf("%d of 100 calls counted", got)
			}
			if err := attached.Close(); err != nil {
				t.Fatal(err)
			}
			call(100)
			if got := count(); got != 100 {
				t.Errorf("%d calls counted after it was detached", got-100)
			}
		})
	}
}

func TestAttachTracepointRefuses(t *testing.T) {
	prog, _ := counter(t, ebpf.TracePoint)
	if c, err := AttachTracepoint(prog, 1<<40); err == nil {
		c.Close()
		t.Error("attached to an event that does not exist")
	}
	tracefs := openTracefs(t)
	format, err := tracefs.Format("sched", "sched_switch")
	if err != nil {
		t.Fatal(err)
	}
	kprobe, _ := counter(t, ebpf.RawTracepoint)
	c, err := AttachTracepoint(kprobe, format.ID)
	if err == nil {
		c.Close()
		t.Error("attached a program of another type")
	} else if !strings.Contains(err.Error(), "attach to trace event") {
		t.Error(err)
	}
}

func TestBootTime(t *testing.T) {
	t.Parallel()
	boot, err := BootTime()
	if err != nil {
		t.Fatal(err)
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	if off := time.Since(boot.Add(time.Duration(ts.Nano()))).Abs(); off > 100*time.Millisecond {
		t.Errorf("now is off by %v", off)
	}
}
