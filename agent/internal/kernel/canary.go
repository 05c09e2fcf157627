// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// errDenied is what canaries deny with: no system call used here gives it of
// itself.
const errDenied = unix.ENODATA

// kind is where a program can be attached.
type kind struct {
	typ ebpf.ProgramType
	at  ebpf.AttachType
	to  string
	// flags are those of the load.
	flags uint32
}

// trial is a program that is attached while something is done that it sees.
type trial struct {
	kind
	attach func(*ebpf.Program) (io.Closer, error)
	// trigger is done on the thread that the program looks at.
	trigger func(tid int) error
}

// program makes a program that does act when the task with this thread id, in
// the pid namespace of this process, comes by, and lets everything else pass.
// R6 is the program's context. Act falls through to return 0.
func (p *prober) program(k kind, tid int, act asm.Instructions) (*ebpf.Program, error) {
	if p.nsErr != nil {
		return nil, p.nsErr
	}
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadImm(asm.R1, int64(p.nsDev), asm.DWord),
		asm.LoadImm(asm.R2, int64(p.nsIno), asm.DWord),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, -8), // struct bpf_pidns_info: thread id, process id
		asm.Mov.Imm(asm.R4, 8),
		asm.FnGetNsCurrentPidTgid.Call(),
		asm.JNE.Imm(asm.R0, 0, "pass"),
		asm.LoadMem(asm.R1, asm.RFP, -8, asm.Word),
		asm.JNE.Imm(asm.R1, int32(tid), "pass"),
	}
	code = append(code, act...)
	code = append(code, asm.Mov.Imm(asm.R0, 0).WithSymbol("pass"), asm.Return())
	return load(k, code)
}

func load(k kind, code asm.Instructions) (*ebpf.Program, error) {
	coll, err := ebpf.NewCollectionWithOptions(&ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{"": {
		Name: probeName(), License: "GPL",
		Type: k.typ, AttachType: k.at, AttachTo: k.to, Flags: k.flags, Instructions: code,
	}}}, ebpf.CollectionOptions{Cache: types})
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", k, bare(err))
	}
	defer coll.Close()
	return coll.DetachProgram(""), nil
}

// probeName is what this process' probes are called in lists of programs.
func probeName() string { return fmt.Sprintf("probe_%d", os.Getpid()) }

// bare takes the library's advice about memory limits off an errno: they have
// been lifted.
func bare(err error) error {
	var verdict *ebpf.VerifierError
	var no unix.Errno
	if errors.Is(err, ebpf.ErrNotSupported) || errors.As(err, &verdict) || !errors.As(err, &no) {
		return err
	}
	return no
}

func (k kind) String() string {
	text := "program of type " + k.typ.String()
	if k.to != "" {
		text += " for " + k.to
	}
	return text
}

// counts proves that a program runs: it attaches one that counts, before makes
// it do more, and wants to have something counted after the trigger.
func (p *prober) counts(t trial, before ...asm.Instruction) error {
	counter, err := newMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return err
	}
	defer counter.Close()
	count := asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, counter.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
	}
	if err := p.try(t, append(before, count...), p.detachLater); err != nil {
		return err
	}
	var n uint64
	if err := counter.Lookup(uint32(0), &n); err != nil {
		return fmt.Errorf("read count: %w", err)
	}
	if n == 0 {
		return unsupported("the %s attaches, but is never run", t.kind)
	}
	return nil
}

// denies proves that a program can make a system call fail: getpgid, on one
// thread of this process.
func (p *prober) denies(t trial, act ...asm.Instruction) error {
	denied := false
	t.trigger = func(tid int) error {
		_, err := unix.Getpgid(tid)
		denied = errors.Is(err, errDenied)
		return nil
	}
	if err := p.try(t, act, detach); err != nil {
		return err
	}
	if !denied {
		return unsupported("the %s attaches, but what it denies is let through", t.kind)
	}
	return nil
}

// deny ends a program that denies by its return value.
func deny() []asm.Instruction {
	return []asm.Instruction{asm.Mov.Imm(asm.R0, -int32(errDenied)), asm.Return()}
}

// try loads and attaches a program, pulls the trigger, and detaches it.
func (p *prober) try(t trial, act asm.Instructions, detach func(kind, io.Closer) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid := unix.Gettid()
	prog, err := p.program(t.kind, tid, act)
	if err != nil {
		return err
	}
	defer prog.Close()
	attached, err := t.attach(prog)
	if err != nil {
		return fmt.Errorf("attach %s: %w", t.kind, err)
	}
	err = t.trigger(tid)
	return errors.Join(err, detach(t.kind, attached))
}

func detach(k kind, attached io.Closer) error {
	if err := attached.Close(); err != nil {
		return fmt.Errorf("detach %s: %w", k, err)
	}
	return nil
}

// detachLater detaches a program while the prober goes on: the kernel waits for tens of
// milliseconds until nobody can be in it any more. It is for programs that do nothing to
// what other probes do.
func (p *prober) detachLater(k kind, attached io.Closer) error {
	asked := p.asked
	p.detaching.Go(func() {
		err := detach(k, attached)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.left[asked] = errors.Join(p.left[asked], err)
	})
	return nil
}

// getpgid is the usual trigger: a system call that passes a security hook and
// that hardly anybody makes.
func getpgid(tid int) error {
	_, err := unix.Getpgid(tid)
	return err
}

func newMap(spec *ebpf.MapSpec) (*ebpf.Map, error) {
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, fmt.Errorf("create map of type %s: %w", spec.Type, bare(err))
	}
	return m, nil
}
