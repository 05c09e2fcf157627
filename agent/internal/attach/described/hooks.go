// SPDX-License-Identifier: Apache-2.0

package described

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

//go:embed hooks.tsv
var hooksText string

// hooks are those of one kernel.
type hooks struct {
	events                   map[string][]compile.Field
	functions, security, raw map[string]compile.Prototype
}

// The kinds of lines.
const (
	kindEvent    = "event"
	kindFunction = "function"
	kindSecurity = "security"
	kindRaw      = "raw"
)

// subsystems are those whose events are described.
func subsystems() []string {
	return []string{"syscalls", "raw_syscalls", "sched", "task", "signal", "cgroup", "module", "net", "sock", "tcp", "capability"}
}

// described tells whether a function's absence means that the kernel lacks it.
func described(function string) bool {
	for _, prefix := range []string{"security_", "__x64_sys_", "__ia32_sys_", "__ia32_compat_sys_"} {
		if strings.HasPrefix(function, prefix) {
			return true
		}
	}
	return false
}

// hooksOf reads the hooks of a kernel.
func hooksOf(kernel string) (*hooks, error) {
	h := &hooks{
		events: map[string][]compile.Field{}, functions: map[string]compile.Prototype{},
		security: map[string]compile.Prototype{}, raw: map[string]compile.Prototype{},
	}
	n := 0
	for line := range strings.Lines(hooksText) {
		n++
		if err := h.read(strings.TrimSuffix(line, "\n"), kernel); err != nil {
			return nil, fmt.Errorf("hooks.tsv, line %d: %w", n, err)
		}
	}
	return h, nil
}

// read takes a line in: kernels, kind, name, shape, with tabs between.
func (h *hooks) read(line, kernel string) (err error) {
	if strings.HasPrefix(line, "#") {
		return nil
	}
	cells := strings.Split(line, "\t")
	if len(cells) != 4 {
		return fmt.Errorf("has %d cells, not 4", len(cells))
	}
	if cells[0] != allKernels && !slices.Contains(strings.Fields(cells[0]), kernel) {
		return nil
	}
	name, shape := cells[2], cells[3]
	switch cells[1] {
	case kindEvent:
		h.events[name], err = parseFields(shape)
	case kindFunction:
		h.functions[name], err = parsePrototype(shape)
	case kindSecurity:
		h.security[name], err = parsePrototype(shape)
	case kindRaw:
		h.raw[name], err = parsePrototype(shape)
	default:
		err = fmt.Errorf("unknown kind %q", cells[1])
	}
	return err
}

// allKernels stands for the names of all kernels.
const allKernels = "*"

// Fields are "type name:offset:size:array:flags", with semicolons between. The
// four common fields are left out.

const (
	flagSigned  = "s"
	flagDataLoc = "d"
)

func formatFields(fields []compile.Field) string {
	var texts []string
	for _, f := range fields {
		if f.Offset < commonLength {
			continue
		}
		flags := ""
		if f.Signed {
			flags += flagSigned
		}
		if f.DataLoc {
			flags += flagDataLoc
		}
		texts = append(texts, fmt.Sprintf("%s %s:%d:%d:%d:%s", f.Type, f.Name, f.Offset, f.Size, f.Array, flags))
	}
	return strings.Join(texts, ";")
}

func parseFields(text string) ([]compile.Field, error) {
	fields := commonFields()
	if text == "" {
		return fields, nil
	}
	for item := range strings.SplitSeq(text, ";") {
		parts := strings.Split(item, ":")
		at := strings.LastIndexByte(parts[0], ' ')
		if len(parts) != 5 || at < 0 {
			return nil, fmt.Errorf("field %q", item)
		}
		offset, err1 := strconv.Atoi(parts[1])
		size, err2 := strconv.Atoi(parts[2])
		array, err3 := strconv.Atoi(parts[3])
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("field %q: %w", item, err)
		}
		fields = append(fields, compile.Field{
			Type: parts[0][:at], Name: parts[0][at+1:], Offset: offset, Size: size, Array: array,
			Signed: strings.Contains(parts[4], flagSigned), DataLoc: strings.Contains(parts[4], flagDataLoc),
		})
	}
	return fields, nil
}

// commonLength is where the fields of an event of its own begin, in bytes.
const commonLength = 8

// commonFields begin every event, in the same way on all kernels.
func commonFields() []compile.Field {
	return []compile.Field{
		{Name: "common_type", Type: "unsigned short", Offset: 0, Size: 2},
		{Name: "common_flags", Type: "unsigned char", Offset: 2, Size: 1},
		{Name: "common_preempt_count", Type: "unsigned char", Offset: 3, Size: 1},
		{Name: "common_pid", Type: "int", Offset: 4, Size: 4, Signed: true},
	}
}

// exitFields are those of every sys_exit_ event.
func exitFields() []compile.Field {
	return append(commonFields(),
		compile.Field{Name: "__syscall_nr", Type: "int", Offset: 8, Size: 4, Signed: true},
		compile.Field{Name: "ret", Type: "long", Offset: 16, Size: 8, Signed: true})
}

// Prototypes are flags and "name:kind" for each parameter, with spaces between. A
// kind is "*STRUCT", or the size of an integer with "s" behind a signed one.

const (
	flagVoid      = "!void"
	flagAmbiguous = "!several"
	flagUnknown   = "!unknown"
)

func formatPrototype(p compile.Prototype) string {
	if !p.Known {
		return flagUnknown
	}
	var texts []string
	if p.Void {
		texts = append(texts, flagVoid)
	}
	if p.Ambiguous {
		texts = append(texts, flagAmbiguous)
	}
	for _, of := range p.Params {
		kind := strconv.Itoa(of.Size)
		switch {
		case of.Struct != "":
			kind = "*" + of.Struct
		case of.Signed:
			kind += flagSigned
		}
		texts = append(texts, of.Name+":"+kind)
	}
	return strings.Join(texts, " ")
}

func parsePrototype(text string) (compile.Prototype, error) {
	p := compile.Prototype{Known: true}
	for item := range strings.FieldsSeq(text) {
		name, kind, isParam := strings.Cut(item, ":")
		switch {
		case item == flagUnknown:
			p.Known = false
		case item == flagVoid:
			p.Void = true
		case item == flagAmbiguous:
			p.Ambiguous = true
		case !isParam:
			return p, fmt.Errorf("parameter %q", item)
		case strings.HasPrefix(kind, "*"):
			p.Params = append(p.Params, compile.Param{Name: name, Struct: kind[1:]})
		default:
			number, signed := strings.CutSuffix(kind, flagSigned)
			size, err := strconv.Atoi(number)
			if err != nil {
				return p, fmt.Errorf("parameter %q: %w", item, err)
			}
			p.Params = append(p.Params, compile.Param{Name: name, Size: size, Signed: signed})
		}
	}
	return p, nil
}
