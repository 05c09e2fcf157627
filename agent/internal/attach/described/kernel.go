// SPDX-License-Identifier: Apache-2.0

package described

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/attach"
	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// ErrUnknown says that no kernel of a name is described.
var ErrUnknown = errors.New("not described")

// withoutBPF ends the names of kernels that are booted without bpf in lsm=.
const withoutBPF = "-nobpf"

// Kernel is a described kernel on x86-64. It is immutable and safe for concurrent
// use.
type Kernel struct {
	name     string
	features kernel.Features
	hooks    *hooks
	attach.Preempted
}

// Names are the kernels that are described, each first with bpf among the active
// security modules and then without.
func Names() []string {
	var names []string
	for _, r := range releases() {
		names = append(names, r.name, r.name+withoutBPF)
	}
	return names
}

// Newest is the name of the described kernel that has the most hooks.
func Newest() string { return "7" }

// Named describes a kernel. The error is ErrUnknown when there is none of the name.
func Named(name string) (*Kernel, error) {
	base, without := strings.CutSuffix(name, withoutBPF)
	all := releases()
	i := slices.IndexFunc(all, func(r release) bool { return r.name == base })
	if i < 0 {
		return nil, fmt.Errorf("kernel %q: %w: there are %s", name, ErrUnknown, strings.Join(Names(), ", "))
	}
	found, err := hooksOf(base)
	if err != nil {
		return nil, err
	}
	r := all[i]
	return &Kernel{name: name, features: r.features(!without), hooks: found, Preempted: r.preempted}, nil
}

// Name is the kernel's name, as Named takes it.
func (k *Kernel) Name() string { return k.name }

// Features are the answers that the probes give on the kernel.
func (k *Kernel) Features() kernel.Features { return k.features }

// Describes tells whether the description says of a function if it is there.
func (k *Kernel) Describes(function string) bool { return described(function) }

// Can is compile.Kernel.
func (k *Kernel) Can(m compile.Mechanism) error {
	feature, ok := attach.FeatureOf(m)
	if !ok {
		return fmt.Errorf("unknown mechanism %d", m)
	}
	return k.features.Err(feature)
}

// Tracepoint is compile.Kernel. An event of a subsystem that is not described is
// an error that says so.
func (k *Kernel) Tracepoint(subsystem, event string) ([]compile.Field, error) {
	if fields, ok := k.hooks.events[subsystem+"/"+event]; ok {
		return fields, nil
	}
	if call, exit := strings.CutPrefix(event, "sys_exit_"); exit && subsystem == "syscalls" {
		if _, ok := k.hooks.events["syscalls/sys_enter_"+call]; ok {
			return exitFields(), nil
		}
	}
	if !slices.Contains(subsystems(), subsystem) {
		return nil, fmt.Errorf("event %s/%s: the description of kernel %s has the events of %s only", subsystem, event, k.name, strings.Join(subsystems(), ", "))
	}
	return nil, fmt.Errorf("event %s/%s: %w", subsystem, event, compile.ErrNoCall)
}

// Function is compile.Kernel.
func (k *Kernel) Function(name string) (compile.Prototype, error) {
	if p, ok := k.hooks.functions[name]; ok {
		p.Result = resultOf(name, p)
		return p, nil
	}
	if described(name) {
		return compile.Prototype{}, fmt.Errorf("function %s: %w", name, compile.ErrNoCall)
	}
	return compile.Prototype{}, nil
}

// resultOf is what a described function returns, which is the same for nearly all of
// a kind, so that the description leaves it out.
func resultOf(name string, p compile.Prototype) compile.Param {
	switch {
	case p.Void || !p.Known:
		return compile.Param{}
	case strings.HasPrefix(name, "__"): // a system call's
		return compile.Param{Size: 8, Signed: true}
	case name == "security_get_initial_sid_context":
		return compile.Param{Struct: "char"}
	}
	return compile.Param{Size: 4, Signed: true}
}

// Hook is compile.Kernel.
func (k *Kernel) Hook(name string) (compile.Prototype, error) {
	if p, ok := k.hooks.security[name]; ok {
		return p, nil
	}
	return compile.Prototype{}, fmt.Errorf("security hook %s: %w", name, compile.ErrNoCall)
}

// RawTracepoint is compile.Kernel.
func (k *Kernel) RawTracepoint(name string) (compile.Prototype, error) {
	if p, ok := k.hooks.raw[name]; ok {
		return p, nil
	}
	return compile.Prototype{}, fmt.Errorf("raw tracepoint %s: %w", name, compile.ErrNoCall)
}

// SyscallFunction is compile.Kernel, for x86-64.
func (k *Kernel) SyscallFunction(call string) (function string, compat bool, err error) {
	abi, name, named := strings.Cut(call, "/")
	if !named {
		abi, name = "x64", call
	}
	prefixes, ok := map[string][]string{"x64": {"__x64_"}, "i386": {"__ia32_compat_", "__ia32_"}}[abi]
	if !ok {
		return "", false, fmt.Errorf("system call %s: x86-64 has no such ABI: %w", call, compile.ErrNoCall)
	}
	for _, prefix := range prefixes {
		if _, err = k.Function(prefix + name); err == nil {
			return prefix + name, abi == "i386", nil
		}
	}
	return "", false, fmt.Errorf("system call %s: %w", call, err)
}

// Functions is compile.Kernel: the functions that are described, of which a kernel has
// many more.
func (k *Kernel) Functions() ([]string, error) {
	return slices.Sorted(maps.Keys(k.hooks.functions)), nil
}

// Syscalls is compile.Kernel, for x86-64.
func (k *Kernel) Syscalls() ([]string, error) {
	var calls []string
	for name := range k.hooks.functions {
		if call, ok := strings.CutPrefix(name, "__x64_"); ok {
			calls = append(calls, call)
		}
	}
	slices.Sort(calls)
	return calls, nil
}

// Member is compile.Kernel: the structures of kernels are not described.
func (k *Kernel) Member(_ compile.Start, path string) (compile.Member, error) {
	return compile.Member{}, fmt.Errorf("path %s: the structures of kernel %s are %w: ask the running kernel for them, without --kernel", path, k.name, ErrUnknown)
}

// Registers is compile.Kernel, for x86-64.
func (k *Kernel) Registers() compile.Registers { return attach.RegistersOf("amd64") }

// HostNamespace is compile.Kernel. Most numbers are the same on every machine;
// those of mounts and of the network are 0, which no namespace has.
func (k *Kernel) HostNamespace(n policy.Namespace) (uint32, error) {
	return map[policy.Namespace]uint32{
		policy.NamespaceIpc: 0xefffffff, policy.NamespaceUts: 0xeffffffe, policy.NamespaceUser: 0xeffffffd,
		policy.NamespacePid: 0xeffffffc, policy.NamespacePidForChildren: 0xeffffffc, policy.NamespaceCgroup: 0xeffffffb,
		policy.NamespaceTime: 0xeffffffa, policy.NamespaceTimeForChildren: 0xeffffffa,
	}[n], nil
}
