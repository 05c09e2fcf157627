// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// Function is compile.Kernel. Functions that the kernel has and does not describe
// have an unknown prototype.
func (p *Points) Function(name string) (compile.Prototype, error) {
	// Some kernels describe a function several times, with the same prototype.
	types, err := p.types.AnyTypesByName(name)
	if err != nil && !errors.Is(err, btf.ErrNotFound) {
		return compile.Prototype{}, fmt.Errorf("look up function %s: %w", name, err)
	}
	var found []compile.Prototype
	for _, t := range types {
		if f, ok := t.(*btf.Func); ok {
			found = append(found, prototype(f.Type.(*btf.FuncProto), 0))
		}
	}
	if len(found) > 0 {
		found[0].Ambiguous = len(found) > 1
		return found[0], nil
	}
	symbols, err := p.symbols()
	if err != nil {
		return compile.Prototype{}, err
	}
	if !symbols[name] {
		return compile.Prototype{}, fmt.Errorf("function %s: %w", name, compile.ErrNoCall)
	}
	return compile.Prototype{}, nil
}

// Hook is compile.Kernel.
func (p *Points) Hook(name string) (compile.Prototype, error) {
	found, err := p.Function("bpf_lsm_" + name)
	if errors.Is(err, compile.ErrNoCall) || err == nil && !found.Known {
		return compile.Prototype{}, fmt.Errorf("security hook %s: %w", name, compile.ErrNoCall)
	}
	return found, err
}

// RawTracepoint is compile.Kernel. The first parameter of the kernel's type is what
// the tracepoint was registered with, which programs do not see.
func (p *Points) RawTracepoint(name string) (compile.Prototype, error) {
	var t *btf.Typedef
	if err := p.types.TypeByName("btf_trace_"+name, &t); err != nil {
		if errors.Is(err, btf.ErrNotFound) {
			return compile.Prototype{}, fmt.Errorf("raw tracepoint %s: %w", name, compile.ErrNoCall)
		}
		return compile.Prototype{}, fmt.Errorf("look up raw tracepoint %s: %w", name, err)
	}
	pointer, ok := t.Type.(*btf.Pointer)
	if !ok {
		return compile.Prototype{}, nil
	}
	function, ok := pointer.Target.(*btf.FuncProto)
	if !ok {
		return compile.Prototype{}, nil
	}
	return prototype(function, 1), nil
}

// prototype is what BTF says, without the first parameters.
func prototype(f *btf.FuncProto, without int) compile.Prototype {
	_, void := f.Return.(*btf.Void)
	out := compile.Prototype{Known: true, Void: void, Result: param(btf.FuncParam{Type: f.Return})}
	for _, p := range f.Params[min(without, len(f.Params)):] {
		out.Params = append(out.Params, param(p))
	}
	return out
}

func param(p btf.FuncParam) compile.Param {
	out := compile.Param{Name: p.Name}
	switch t := btf.UnderlyingType(p.Type).(type) {
	case *btf.Int:
		out.Size, out.Signed = int(t.Size), t.Encoding == btf.Signed
	case *btf.Enum:
		out.Size, out.Signed = int(t.Size), t.Signed
	case *btf.Pointer:
		switch to := btf.UnderlyingType(t.Target).(type) {
		case *btf.Struct, *btf.Union, *btf.Fwd:
			out.Struct = structName(t.Target)
		case *btf.Int:
			if to.Encoding == btf.Char || to.Name == "char" {
				out.Struct = "char"
			} else {
				out.Size = 8
			}
		default:
			out.Size = 8
		}
	}
	return out
}

// structName is the name of a structure or union, or of the last typedef of one
// that has none.
func structName(t btf.Type) (name string) {
	for {
		switch of := t.(type) {
		case *btf.Typedef:
			name, t = of.Name, of.Type
		case *btf.Const:
			t = of.Type
		case *btf.Volatile:
			t = of.Type
		case *btf.TypeTag:
			t = of.Type
		default:
			if of.TypeName() != "" {
				return of.TypeName()
			}
			return name
		}
	}
}

// readSymbols reads the names of the kernel's functions.
func readSymbols() (map[string]bool, error) {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, fmt.Errorf("read symbols of the kernel: %w", err)
	}
	defer f.Close()
	names := map[string]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 3 && (fields[1] == "t" || fields[1] == "T") {
			names[fields[2]] = true
		}
	}
	return names, nil
}

// abi is how the functions of system calls are called, and where their arguments
// are in the registers that they are given.
type abi struct {
	prefixes []string
	compat   bool
}

// abis are those of this machine, by the name that policies use; "" is the
// machine's own.
func abis() map[string]abi {
	if runtime.GOARCH == "arm64" {
		own := abi{prefixes: []string{"__arm64_"}}
		return map[string]abi{"": own, "arm64": own, "arm32": {prefixes: []string{"__arm64_compat_"}, compat: true}}
	}
	own := abi{prefixes: []string{"__x64_"}}
	return map[string]abi{"": own, "x64": own, "i386": {prefixes: []string{"__ia32_compat_", "__ia32_"}, compat: true}}
}

// SyscallFunction is compile.Kernel.
func (p *Points) SyscallFunction(call string) (function string, compat bool, err error) {
	name, call, named := strings.Cut(call, "/")
	if !named {
		name, call = "", name
	}
	of, ok := abis()[name]
	if !ok {
		return "", false, fmt.Errorf("system call %s/%s: this machine has no such ABI: %w", name, call, compile.ErrNoCall)
	}
	for _, prefix := range of.prefixes {
		if _, err = p.Function(prefix + call); err == nil {
			return prefix + call, of.compat, nil
		}
	}
	return "", false, fmt.Errorf("system call %s: %w", call, err)
}
