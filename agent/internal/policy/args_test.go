// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestArgumentSizes holds what the keys about an argument's size mean.
func TestArgumentSizes(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(wrap(`  kprobes:
  - call: f
    syscall: false
    args:
    - {index: 0, type: char_buf, sizeArgIndex: 3, maxData: true}
    - {index: 1, type: char_iovec, sizeArgIndex: 15, maxData: false, size: 0}
    - {index: 2, type: sockaddr_un, sizeArgIndex: 2}
    - {index: 3, type: sockaddr_un, label: a}
    - {index: 14, type: int32_arr, size: 1023, sizeArgIndex: 0}
  - call: g
    syscall: false
    args: [{index: 0}, {index: 1, type: int32_arr, size: 2, resolve: pair}]
    data:
    - {index: 0, type: cap_effective, source: current_task, resolve: cred.cap_effective}
    - {index: 1, type: char_buf, sizeArgIndex: 2, maxData: true, source: pt_regs, resolve: rdi}
  tracepoints:
  - {subsystem: a, event: b, args: [{index: 0, type: const_buf}, {index: 1, type: data_loc}, {index: 2, type: nop}]}
`)))
	if err != nil {
		t.Fatal(err)
	}
	want := [][]Arg{
		{{Index: 0, Type: ArgConstBuf}, {Index: 1, Type: ArgDataLoc}, {Index: 2, Type: ArgNop}},
		{
			{Index: 0, Type: ArgCharBuf, SizeArg: 3, MaxData: true}, {Index: 1, Type: ArgIovec, SizeArg: 15},
			{Index: 2, Type: ArgSockaddrUn, SizeArg: 2}, {Index: 3, Type: ArgSockaddrUn, Label: "a"},
			{Index: 14, Type: ArgInt32Array, Elements: 1023},
		},
		{
			{}, {Index: 1, Type: ArgInt32Array, Elements: 2, Resolve: "pair"},
			{Type: ArgCapEffective, Source: SourceTask, Resolve: "cred.cap_effective"},
			{Index: 1, Type: ArgCharBuf, SizeArg: 2, MaxData: true, Source: SourceRegister, Resolve: "rdi"},
		},
	}
	if diff := cmp.Diff(want, [][]Arg{p.Hooks[0].Args, p.Hooks[1].Args, p.Hooks[2].Args}); diff != "" {
		t.Error("arguments (-want +got):\n", diff)
	}
}
