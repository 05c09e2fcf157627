// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/bpf"
)

// Site is one place where rules apply: a tracepoint.
type Site struct {
	Subsystem, Event string
}

// String is the site as it is shown to users.
func (s Site) String() string { return s.Subsystem + "/" + s.Event }

// IsExec tells whether the site sees a program being executed: the exec that ends
// a container's set-up is then judged as the workload's. The tracepoint of the
// scheduler counts too, for its programs may run before the one that arms.
func (s Site) IsExec() bool {
	switch s {
	case Site{syscalls, "sys_enter_execve"}, Site{syscalls, "sys_enter_execveat"}, Site{"sched", "sched_process_exec"}:
		return true
	}
	return false
}

// Exit is the event's name when the call that the site enters returns, and
// whether there is one.
func (s Site) Exit() (event string, ok bool) {
	call, ok := strings.CutPrefix(s.Event, "sys_enter_")
	if !ok || s.Subsystem != syscalls {
		return "", false
	}
	return "sys_exit_" + call, true
}

const syscalls = "syscalls"

// Field is one field of a tracepoint's record, in the order of its format
// description and with the four common_ fields.
type Field struct {
	Name, Type   string
	Offset, Size int
	Signed       bool
	// DataLoc tells that the field holds where in the record the characters are.
	DataLoc bool
	// Array is the number of elements, 0 when the field is no array.
	Array int
}

// Formats finds the fields of a tracepoint. Its error names the event.
type Formats func(subsystem, event string) ([]Field, error)

// Read is how a site's program gets one argument out of the record. Two
// arguments with equal reads are one dimension.
type Read struct {
	Offset uint16
	Kind   bpf.WireArgKind
	Size   uint8
	Signed bool
}

// IsString tells whether the argument is text.
func (r Read) IsString() bool { return r.Kind > bpf.WireArgKindARG_INT }

// readOf is the read of a field as a type, and the type that ArgAuto stands for.
func readOf(site Site, f Field, t policy.ArgType) (Read, policy.ArgType, error) {
	if t == policy.ArgAuto {
		t = autoType(f)
	}
	switch {
	case t == policy.ArgString:
		r, err := stringRead(site, f)
		return r, t, err
	case !t.Integer():
		return Read{}, t, fmt.Errorf("field %s (%s) has no type of its own: name one", f.Name, f.Type)
	case f.DataLoc || f.Array > 0:
		return Read{}, t, fmt.Errorf("field %s is %s, not an integer", f.Name, f.Type)
	}
	return Read{
		Offset: uint16(f.Offset),
		Kind:   bpf.WireArgKindARG_INT,
		Size:   uint8(min(t.Size(), f.Size)),
		Signed: t.Signed(),
	}, t, nil
}

func stringRead(site Site, f Field) (Read, error) {
	r := Read{Offset: uint16(f.Offset), Size: 8}
	switch {
	case f.DataLoc:
		r.Kind, r.Size = bpf.WireArgKindARG_DATA_LOC, 4
	case f.Array > 0 && strings.Contains(f.Type, "char"):
		r.Kind = bpf.WireArgKindARG_INLINE_STRING
	case f.Size == 8 && strings.Contains(f.Type, "*") && site.Subsystem == syscalls:
		r.Kind = bpf.WireArgKindARG_USER_STRING
	case f.Size == 8 && strings.Contains(f.Type, "*"):
		r.Kind = bpf.WireArgKindARG_KERNEL_STRING
	default:
		return r, fmt.Errorf("field %s is %s, not a string", f.Name, f.Type)
	}
	return r, nil
}

func autoType(f Field) policy.ArgType {
	if f.DataLoc || strings.Contains(f.Type, "char") && (strings.Contains(f.Type, "*") || f.Array > 0) {
		return policy.ArgString
	}
	if f.Array > 0 {
		return policy.ArgAuto
	}
	types := map[int][2]policy.ArgType{
		1: {policy.ArgUint8, policy.ArgInt8},
		2: {policy.ArgUint16, policy.ArgInt16},
		4: {policy.ArgUint32, policy.ArgInt32},
		8: {policy.ArgUint64, policy.ArgInt64},
	}
	signed := 0
	if f.Signed {
		signed = 1
	}
	return types[f.Size][signed]
}
