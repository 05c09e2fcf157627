// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

func (p *prober) traceEvents() error {
	if errors.Is(p.tracefsErr, unix.ENODEV) {
		return unsupported("the kernel is built without tracefs")
	}
	if p.tracefsErr != nil {
		return p.tracefsErr
	}
	ok, err := p.tracefs.Exists("sched", "sched_process_exec")
	if err == nil && !ok {
		return unsupported("it lists no scheduler events")
	}
	return err
}

func (p *prober) syscallTracepoints() error {
	if err := p.traceEvents(); err != nil {
		return err
	}
	format, err := p.tracefs.Format("syscalls", "sys_enter_getpgid")
	if errors.Is(err, ErrNoEvent) {
		return unsupported("there are no events for system calls: the kernel is built without CONFIG_FTRACE_SYSCALLS")
	}
	if err != nil {
		return err
	}
	return p.counts(trial{
		kind:    kind{typ: ebpf.TracePoint},
		attach:  func(prog *ebpf.Program) (io.Closer, error) { return AttachTracepoint(prog, format.ID) },
		trigger: getpgid,
	})
}

// eventSource checks for a kind of perf event. Without it the library would
// try to write to tracefs instead, and tell of that.
func eventSource(name, option string) error {
	_, err := os.Stat("/sys/bus/event_source/devices/" + name + "/type")
	if errors.Is(err, fs.ErrNotExist) {
		return unsupported("there is no event source %q: the kernel is built without %s", name, option)
	}
	return err
}

func attachKprobe(prog *ebpf.Program) (io.Closer, error) {
	if err := eventSource("kprobe", "CONFIG_KPROBE_EVENTS"); err != nil {
		return nil, err
	}
	return link.Kprobe(getpgidSymbol(), prog, nil)
}

func (p *prober) kprobe() error {
	return p.counts(trial{kind{typ: ebpf.Kprobe}, attachKprobe, getpgid})
}

func (p *prober) kprobeMulti() error {
	return p.counts(trial{
		kind: kind{typ: ebpf.Kprobe, at: ebpf.AttachTraceKprobeMulti},
		attach: func(prog *ebpf.Program) (io.Closer, error) {
			l, err := link.KprobeMulti(prog, link.KprobeMultiOptions{Symbols: []string{getpgidSymbol()}})
			if errors.Is(err, ebpf.ErrNotSupported) {
				return nil, unsupported("attaching to several functions at once is refused: an older kernel, or one built without CONFIG_FPROBE")
			}
			return l, err
		},
		trigger: getpgid,
	})
}

func (p *prober) overrideReturn() error {
	if err := eventSource("kprobe", "CONFIG_KPROBE_EVENTS"); err != nil {
		return err
	}
	err := p.denies(trial{kind: kind{typ: ebpf.Kprobe}, attach: attachKprobe},
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, -int32(errDenied)),
		asm.FnOverrideReturn.Call(),
	)
	var verdict *ebpf.VerifierError
	if errors.As(err, &verdict) && isRefusal(err) {
		// The verifier names the helper by a number at most.
		return unsupported("no program may use bpf_override_return: the kernel is built without CONFIG_BPF_KPROBE_OVERRIDE (%s)", plain(err))
	}
	return err
}

// uprobeTarget is where the probes of uprobes are put, in this process only.
//
//go:noinline
func uprobeTarget(n int) int { return n*3 + 1 }

func hitUprobe(tid int) error {
	if uprobeTarget(tid) != tid*3+1 {
		return errors.New("the probed function went wrong")
	}
	return nil
}

func (p *prober) uprobe() error {
	return p.counts(trial{kind{typ: ebpf.Kprobe}, func(prog *ebpf.Program) (io.Closer, error) {
		if err := eventSource("uprobe", "CONFIG_UPROBE_EVENTS"); err != nil {
			return nil, err
		}
		exe, offset, err := ownTarget()
		if err != nil {
			return nil, err
		}
		return exe.Uprobe("", prog, &link.UprobeOptions{Address: offset, PID: os.Getpid()})
	}, hitUprobe})
}

func (p *prober) uprobeMulti() error {
	return p.counts(trial{kind{typ: ebpf.Kprobe, at: ebpf.AttachTraceUprobeMulti}, func(prog *ebpf.Program) (io.Closer, error) {
		exe, offset, err := ownTarget()
		if err != nil {
			return nil, err
		}
		l, err := exe.UprobeMulti(nil, prog, &link.UprobeMultiOptions{Addresses: []uint64{offset}, PID: uint32(os.Getpid())})
		if errors.Is(err, unix.EINVAL) {
			// The library adds what callers may have done wrong.
			return nil, unsupported("attaching to several instructions at once is refused (%v)", unix.EINVAL)
		}
		return l, err
	}, hitUprobe})
}

func (p *prober) uprobeRefCounter() error {
	if err := eventSource("uprobe", "CONFIG_UPROBE_EVENTS"); err != nil {
		return err
	}
	_, err := os.Stat("/sys/bus/event_source/devices/uprobe/format/ref_ctr_offset")
	if errors.Is(err, fs.ErrNotExist) {
		return unsupported("uprobe events have no ref_ctr_offset")
	}
	return err
}

// uprobeRegisters only loads its program: it is the verifier that refuses to
// write to registers.
func (p *prober) uprobeRegisters() error {
	prog, err := load(kind{typ: ebpf.Kprobe}, asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.StoreMem(asm.R1, 0, asm.R2, asm.DWord),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	})
	if err != nil {
		return err
	}
	return errors.Join(prog.Close(), eventSource("uprobe", "CONFIG_UPROBE_EVENTS"))
}

// ownTarget is this process' executable and uprobeTarget's offset in it.
func ownTarget() (*link.Executable, uint64, error) {
	address := uint64(reflect.ValueOf(uprobeTarget).Pointer())
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil, 0, err
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to, offset uint64
		var flags string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s %x", &from, &to, &flags, &offset); err != nil {
			return nil, 0, fmt.Errorf("parse own memory map: %w", err)
		}
		if from <= address && address < to {
			exe, err := link.OpenExecutable("/proc/self/exe")
			return exe, address - from + offset, err
		}
	}
	return nil, 0, errors.New("own code is not in the own memory map")
}
