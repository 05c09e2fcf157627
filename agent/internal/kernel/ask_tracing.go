// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
)

func (p *prober) btf() error {
	_, err := types.Kernel()
	if errors.Is(err, fs.ErrNotExist) {
		return unsupported("there is no /sys/kernel/btf/vmlinux: the kernel is built without CONFIG_DEBUG_INFO_BTF")
	}
	return err
}

func (p *prober) moduleBTF() error {
	modules, err := os.ReadFile("/proc/modules")
	if errors.Is(err, fs.ErrNotExist) {
		return unsupported("this kernel has no loadable modules")
	}
	if err != nil {
		return err
	}
	if len(modules) == 0 {
		return errors.New("no module is loaded, so that it cannot be told whether modules have BTF")
	}
	entries, err := os.ReadDir("/sys/kernel/btf")
	if errors.Is(err, fs.ErrNotExist) {
		return unsupported("there is no /sys/kernel/btf")
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == "vmlinux" {
			continue
		}
		_, err := btf.LoadKernelModuleSpec(entry.Name())
		return err
	}
	return unsupported("modules are loaded, none of them has BTF")
}

// typed is the kind of a tracing program with typed arguments.
func typed(at ebpf.AttachType, to string) kind {
	return kind{typ: ebpf.Tracing, at: at, to: to}
}

func attachTyped(prog *ebpf.Program) (io.Closer, error) {
	return link.AttachTracing(link.TracingOptions{Program: prog})
}

func (p *prober) rawTracepointBTF() error {
	return p.counts(trial{typed(ebpf.AttachTraceRawTp, "sys_enter"), attachTyped, getpgid})
}

func (p *prober) testRun() error {
	prog, err := load(kind{typ: ebpf.RawTracepoint}, asm.Instructions{asm.Mov.Imm(asm.R0, 42), asm.Return()})
	if err != nil {
		return err
	}
	defer prog.Close()
	result, err := prog.Run(&ebpf.RunOptions{})
	if err != nil {
		return fmt.Errorf("run program: %w", err)
	}
	if result != 42 {
		return unsupported("a program that returns 42 returned %d", result)
	}
	return nil
}

func (p *prober) taskStorage() error {
	integer := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	storage, err := newMap(&ebpf.MapSpec{
		Type: ebpf.TaskStorage, KeySize: 4, ValueSize: 4, Flags: noPrealloc, Key: integer, Value: integer,
	})
	if err != nil {
		return err
	}
	defer storage.Close()
	return p.counts(trial{typed(ebpf.AttachTraceRawTp, "sys_enter"), attachTyped, getpgid},
		asm.FnGetCurrentTaskBtf.Call(),
		asm.LoadMapPtr(asm.R1, storage.FD()),
		asm.Mov.Reg(asm.R2, asm.R0),
		asm.Mov.Imm(asm.R3, 0),
		asm.Mov.Imm(asm.R4, 1), // BPF_LOCAL_STORAGE_GET_F_CREATE
		asm.FnTaskStorageGet.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
	)
}

// noPrealloc is BPF_F_NO_PREALLOC, which storage maps want.
const noPrealloc = 1

func (p *prober) ringBuffer() error {
	ring, err := newMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize())})
	if err != nil {
		return err
	}
	return ring.Close()
}

func (p *prober) taskIterator() error {
	var iter *link.Iter
	return p.counts(trial{
		kind: typed(ebpf.AttachTraceIter, "task"),
		attach: func(prog *ebpf.Program) (io.Closer, error) {
			var err error
			iter, err = link.AttachIter(link.IterOptions{Program: prog})
			return iter, err
		},
		trigger: func(int) error {
			r, err := iter.Open()
			if err != nil {
				return fmt.Errorf("open iterator: %w", err)
			}
			defer r.Close()
			_, err = io.Copy(io.Discard, r)
			return err
		},
	})
}

func (p *prober) cgroupID() error {
	return features.HaveProgramHelper(ebpf.RawTracepoint, asm.FnGetCurrentCgroupId)
}

func (p *prober) fentry() error {
	return p.counts(trial{typed(ebpf.AttachTraceFEntry, getpgidSymbol()), attachTyped, getpgid})
}

func (p *prober) modifyReturn() error {
	return p.denies(trial{kind: typed(ebpf.AttachModifyReturn, "security_task_getpgid"), attach: attachTyped}, deny()...)
}

func (p *prober) modifyReturnSyscall() error {
	return p.denies(trial{kind: typed(ebpf.AttachModifyReturn, getpgidSymbol()), attach: attachTyped}, deny()...)
}

func (p *prober) lsm() error {
	err := p.denies(trial{
		kind: kind{typ: ebpf.LSM, at: ebpf.AttachLSMMac, to: "task_getpgid"},
		attach: func(prog *ebpf.Program) (io.Closer, error) {
			return link.AttachLSM(link.LSMOptions{Program: prog})
		},
	}, deny()...)
	var no *reasonError
	if errors.As(err, &no) && p.modules != nil && !slices.Contains(p.modules, "bpf") {
		return unsupported(`%s: "bpf" is not among the active security modules (%s); the boot parameter lsm= has to name it too`,
			no.reason, strings.Join(p.modules, ","))
	}
	return err
}
