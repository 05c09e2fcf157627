// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// writeUser does not load a program: the kernel would warn of it in its log,
// at each start of the agent. It is forbidden by lockdown and nothing else.
func (p *prober) writeUser() error {
	switch p.lockdown {
	case "none":
	case "":
		// No lockdown file beside a readable list of modules: no lockdown.
		if p.modulesErr != nil {
			return fmt.Errorf("read lockdown mode: %w", p.modulesErr)
		}
	default:
		return unsupported("bpf_probe_write_user is forbidden by lockdown (%s)", p.lockdown)
	}
	return features.HaveProgramType(ebpf.Kprobe)
}

func (p *prober) largePrograms() error { return features.HaveLargeInstructions() }

func (p *prober) batchUpdate() error {
	m, err := newMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 2})
	if err != nil {
		return err
	}
	defer m.Close()
	n, err := m.BatchUpdate([]uint32{1, 2}, []uint32{3, 4}, nil)
	if err != nil {
		return fmt.Errorf("update map in a batch: %w", err)
	}
	var value uint32
	if err := m.Lookup(uint32(2), &value); n != 2 || value != 4 || err != nil {
		return errors.Join(unsupported("a batch of 2 updates did %d", n), err)
	}
	return nil
}

// perfEventLink uses a timer's event, which every kernel has.
func (p *prober) perfEventLink() error {
	prog, err := load(kind{typ: ebpf.PerfEvent}, asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()})
	if err != nil {
		return err
	}
	defer prog.Close()
	fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK,
		Size: unix.PERF_ATTR_SIZE_VER1, Sample: 1_000_000_000, Bits: unix.PerfBitDisabled,
	}, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open perf event: %w", err)
	}
	defer unix.Close(fd)
	l, err := link.AttachRawLink(link.RawLinkOptions{Target: fd, Program: prog, Attach: ebpf.AttachPerfEvent})
	if err != nil {
		return fmt.Errorf("link perf event: %w", err)
	}
	return p.detachLater(kind{typ: ebpf.PerfEvent}, l)
}

func (p *prober) buildID() error {
	const entry = 32 // struct bpf_stack_build_id
	stacks, err := newMap(&ebpf.MapSpec{
		Type: ebpf.StackTrace, KeySize: 4, ValueSize: 4 * entry, MaxEntries: 1, Flags: unix.BPF_F_STACK_BUILD_ID,
	})
	if err != nil {
		return err
	}
	return stacks.Close()
}

func (p *prober) missedKprobe() error {
	if err := p.kprobe(); err != nil {
		return err
	}
	return p.linkInfoHas("perf_event", "kprobe", "missed")
}

func (p *prober) missedKprobeMulti() error {
	if err := p.kprobeMulti(); err != nil {
		return err
	}
	return p.linkInfoHas("kprobe_multi", "missed")
}

// linkInfoHas looks for a member of what the kernel tells about a link.
func (p *prober) linkInfoHas(path ...string) error {
	kernel, err := types.Kernel()
	if err != nil {
		return err
	}
	var info *btf.Struct
	if err := kernel.TypeByName("bpf_link_info", &info); err != nil {
		return err
	}
	var at btf.Type = info
	for _, name := range path {
		if at = member(at, name); at == nil {
			return unsupported("struct bpf_link_info has no %q", name)
		}
	}
	return nil
}

func (p *prober) loginUID() error {
	if _, err := os.Stat("/proc/self/loginuid"); err != nil {
		return unsupported("there is no /proc/self/loginuid: the kernel is built without CONFIG_AUDIT")
	}
	kernel, err := types.Kernel()
	if err != nil {
		return err
	}
	var task *btf.Struct
	if err := kernel.TypeByName("task_struct", &task); err != nil {
		return err
	}
	if member(task, "loginuid") == nil {
		return unsupported("struct task_struct has no loginuid")
	}
	return nil
}

// member is the type of a named member of a struct or union, also of unnamed
// ones in it; nil if there is none.
func member(in btf.Type, name string) btf.Type {
	var members []btf.Member
	switch t := btf.UnderlyingType(in).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	for _, m := range members {
		if m.Name == name {
			return m.Type
		}
		if m.Name == "" {
			if found := member(m.Type, name); found != nil {
				return found
			}
		}
	}
	return nil
}
