// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// anyFormat knows every event: fields of all the sorts that there are.
func anyFormat(subsystem, event string) ([]Field, error) {
	if event == "none" {
		return nil, fmt.Errorf("no event %s/%s", subsystem, event)
	}
	return []Field{
		{Name: "common_type", Type: "unsigned short", Size: 2},
		{Name: "common_flags", Type: "unsigned char", Offset: 2, Size: 1},
		{Name: "common_preempt_count", Type: "unsigned char", Offset: 3, Size: 1},
		{Name: "common_pid", Type: "int", Offset: 4, Size: 4, Signed: true},
		{Name: "nr", Type: "int", Offset: 8, Size: 4, Signed: true},
		{Name: "fd", Type: "int", Offset: 16, Size: 8},
		{Name: "name", Type: "const char *", Offset: 24, Size: 8},
		{Name: "comm", Type: "char", Offset: 32, Size: 16, Array: 16},
		{Name: "loc", Type: "char[]", Offset: 48, Size: 4, DataLoc: true},
		{Name: "odd", Type: "struct x", Offset: 52, Size: 3},
		{Name: "set", Type: "unsigned long", Offset: 56, Size: 16, Array: 2},
	}, nil
}

// FuzzCompile takes a policy's text all the way to its rules: a text gives
// either rules that a site has room for, or faults that name their fields.
func FuzzCompile(f *testing.F) {
	library, err := os.ReadFile("../../../../policies/no-shadow-read.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(library)
	for _, filter := range []string{
		`{index: 4, operator: InRange, values: ["-5:7", "9:9"]}`, `{index: 6, operator: NotPostfix, values: [/etc/shadow]}`,
		`{index: 7, operator: Prefix, values: [ba]}`, `{index: 8, operator: Equal, values: [x]}`, `{index: 9, operator: GT, values: ["1"]}`,
	} {
		f.Add(fmt.Appendf(nil, `apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: p}
spec:
  tracepoints:
  - {subsystem: syscalls, event: sys_enter_x, args: [{index: 4, type: int32}, {index: 6, type: string}, {index: 7}, {index: 8}, {index: 9}],
     selectors: [{matchArgs: [%s], matchBinaries: [{operator: In, values: [/bin/x]}], matchActions: [{action: Signal, argSig: 9}]}]}
`, filter))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := policy.Parse(text)
		if err != nil {
			return
		}
		compiled, err := Compile(p, anyFormat)
		if err != nil {
			if compiled != nil || len(policy.Faults(err)) == 0 {
				t.Fatalf("compiled %v with error %v", compiled, err)
			}
			return
		}
		table := NewTable(1, NewKeys(), NewPools(1<<15, 1<<16))
		for i := range compiled.Hooks {
			h := &compiled.Hooks[i]
			if err := table.Extend(h); err != nil {
				continue
			}
			if first, err := table.Room(max(1, len(h.Rules))); err == nil {
				for k := range h.Rules {
					table.Add(first+k, h, &h.Rules[k])
				}
			}
		}
		if _, err := table.Changes(); err != nil && !errors.Is(err, ErrNoRoom) {
			t.Fatal(err)
		}
	})
}
