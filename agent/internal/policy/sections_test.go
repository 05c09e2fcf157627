// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

// fullSites uses the sections besides tracepoints, and what goes with them.
const fullSites = `apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: sites}
spec:
  lsmhooks:
  - hook: file_open
    args:
    - {index: 0, type: file}
    - {index: 1}
    selectors:
    - matchArgs:
      - {index: 0, operator: Prefix, values: [/etc/]}
      matchCapabilities:
      - {type: Permitted, operator: NotIn, values: [CAP_SYS_ADMIN, cap_chown], isNamespaceCapability: true}
      matchActions:
      - {action: Override, argError: -13}
      - {action: NoPost}
  fentries:
  - call: tcp_close
    syscall: false
    args: [{index: 0, type: sock}]
    selectors:
    - matchArgs:
      - {index: 0, operator: NotSportPriv}
      - {index: 0, operator: DAddr, values: ["10.1.2.3/8", "::ffff:127.0.0.1", "fe80::1"]}
      - {index: 0, operator: State, values: [TCP_ESTABLISHED]}
      - {index: 0, operator: NotDPort, values: [443, "80:90", 91]}
      matchActions: [{action: Sigkill}]
  kprobes:
  - call: "list:opens"
    ignore: {callNotFound: true}
    message: opens
    args:
    - {index: 1, type: char_buf, sizeArgIndex: 3}
    - {index: 2, type: int}
    selectors:
    - matchPIDs:
      - {operator: NotIn, values: [7, 0, 7], followForks: true, isNamespacePID: true}
      matchNamespaces:
      - {namespace: Net, operator: In, values: [4026531840, host_ns]}
      matchBinaries:
      - {operator: NotIn, values: [/bin/sh], followChildren: true}
      matchArgs:
      - {index: 2, operator: Mask, values: [1, 0x80000000, -1]}
      matchActions:
      - {action: Override, argError: 0}
  - {call: __x64_sys_kill}
  tracepoints:
  - subsystem: raw_syscalls
    event: sys_enter
    raw: true
    args:
    - {index: 4, type: syscall64}
    - {index: 1, type: capability}
    selectors:
    - matchArgs:
      - {index: 4, operator: InMap, values: ["list:native", "1500:1501", 1500]}
      - {index: 1, operator: Equal, values: [CAP_BPF, 1]}
      matchActions: [{action: NotifyEnforcer, argError: -1, argSig: 9}]
  lists:
  - {name: opens, type: syscalls, validated: true, values: [sys_open, i386/sys_open, __x64_sys_openat, x64/sys_openat]}
  - {name: native, values: [sys_openat]}
  enforcers:
  - calls: ["list:opens", security_file_open, sys_open]
  nodeSelector: {matchLabels: {zone: a}}
  options:
  - {name: disable-kprobe-multi, value: "1"}
  - {name: override-method, value: fmod-ret}
`

// TestParseAllSites holds every field of a policy of all sections.
func TestParseAllSites(t *testing.T) {
	t.Parallel()
	got, err := Parse([]byte(fullSites))
	if err != nil {
		t.Fatal(err)
	}
	opens := []string{"sys_open", "i386/sys_open", "x64/sys_openat"}
	net := func(s string) netip.Prefix { return netip.MustParsePrefix(s) }
	post := []Selector{{Actions: []Action{{Kind: Post}}}}
	want := []Hook{
		{
			Section: Tracepoints, Subsystem: "raw_syscalls", Event: "sys_enter", Raw: true,
			Args: []Arg{{Index: 4, Type: ArgSyscall64}, {Index: 1, Type: ArgCapability}},
			Selectors: []Selector{{
				Args: []ArgFilter{
					{
						Arg: 0, Op: OpInMap, Ranges: []Range{{unix.SYS_OPENAT, unix.SYS_OPENAT}, {1500, 1501}},
						Values: []string{"list:native", "1500:1501", "1500"},
					},
					{Arg: 1, Op: OpEqual, Ranges: []Range{{1, 1}, {39, 39}}, Values: []string{"CAP_BPF", "1"}},
				},
				Actions: []Action{{Kind: NotifyEnforcer, Signal: 9, Error: -1}},
			}},
		},
		{
			Section: Kprobes, Calls: opens, List: "opens", Syscall: true, IgnoreMissing: true, Message: "opens",
			Args: []Arg{{Index: 1, Type: ArgCharBuf, SizeArg: 3}, {Index: 2, Type: ArgInt32}},
			Selectors: []Selector{{
				Args:       []ArgFilter{{Arg: 1, Op: OpMask, Masks: []uint64{1, 1 << 31, 1<<32 - 1}, Values: []string{"1", "0x80000000", "-1"}}},
				Binaries:   []BinaryFilter{{Op: OpNotIn, Values: []string{"/bin/sh"}, FollowChildren: true}},
				PIDs:       []PIDFilter{{Negated: true, Values: []uint32{0, 7}, FollowForks: true, NamespacePID: true}},
				Namespaces: []NamespaceFilter{{Namespace: NamespaceNet, Values: []uint32{4026531840}, Host: true}},
				Actions:    []Action{{Kind: Override}},
			}},
		},
		{Section: Kprobes, Index: 1, Calls: []string{"x64/sys_kill"}, Syscall: true, Selectors: post},
		{
			Section: LSMHooks, Calls: []string{"file_open"},
			Args: []Arg{{Index: 0, Type: ArgFile}, {Index: 1}},
			Selectors: []Selector{{
				Args: []ArgFilter{{Op: OpPrefix, Strings: []string{"/etc/"}, Values: []string{"/etc/"}}},
				Capabilities: []CapabilityFilter{{
					Set: CapabilityPermitted, Negated: true, Mask: 1<<21 | 1, Namespaced: true,
				}},
				Actions: []Action{{Kind: Override, Error: -13}, {Kind: NoPost}},
			}},
		},
		{
			Section: Fentries, Calls: []string{"tcp_close"}, Args: []Arg{{Index: 0, Type: ArgSock}},
			Selectors: []Selector{{
				Args: []ArgFilter{
					{Op: OpNotSPortPriv, Ranges: []Range{{0, 1023}}},
					{
						Op: OpDAddr, Prefixes: []netip.Prefix{net("10.0.0.0/8"), net("127.0.0.1/32"), net("fe80::1/128")},
						Values: []string{"10.1.2.3/8", "::ffff:127.0.0.1", "fe80::1"},
					},
					{Op: OpState, Ranges: []Range{{1, 1}}, Values: []string{"TCP_ESTABLISHED"}},
					{Op: OpNotDPort, Ranges: []Range{{80, 91}, {443, 443}}, Values: []string{"443", "80:90", "91"}},
				},
				Actions: []Action{{Kind: Sigkill}},
			}},
		},
	}
	same := []cmp.Option{cmpopts.IgnoreUnexported(Hook{}, ArgFilter{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
	if diff := cmp.Diff(want, got.Hooks, same...); diff != "" {
		t.Error("hooks (-want +got):\n", diff)
	}
	if diff := cmp.Diff([]string{"sys_open", "i386/sys_open", "x64/sys_openat", "security_file_open"}, got.Enforcers); diff != "" {
		t.Error("enforcers (-want +got):\n", diff)
	}
	if got.Mode != Enforce || got.NodeSelector == nil || got.NodeSelector.Requirements[0].Key != "zone" {
		t.Errorf("mode %s, nodes %+v", got.Mode, got.NodeSelector)
	}
	if (got.Options != Options{SingleKprobes: true, OverrideMethod: OverrideModify}) || len(got.Warnings) > 0 {
		t.Errorf("options %+v, warnings %v", got.Options, got.Warnings)
	}
	checkInvariants(t, got)
}
