// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// full uses what is understood of tracepoints; fullSites has the rest.
const full = `apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: full.example
  labels: {team: a}
  annotations: {note: "1"}
  creationTimestamp: null
spec:
  podSelector:
    matchLabels: {app: web}
    matchExpressions:
    - {key: "k8s:io.kubernetes.pod.namespace", operator: NotIn, values: [kube-system, dev, dev]}
    - {key: canary, operator: DoesNotExist}
  containerSelector:
    matchExpressions:
    - {key: repo, operator: In, values: [docker.io/library/busybox]}
    - {key: io.kubernetes.cri.container-name, operator: Exists}
  hostSelector: {}
  options:
  - {name: policy-mode, value: monitor}
  kprobes: []
  tracepoints:
  - subsystem: syscalls
    event: sys_enter_openat
    message: an open
    tags: [file, "observability"]
    raw: false
    selectors:
    - matchArgs:
      - {index: 6, operator: Postfix, values: [.key, .pem]}
      - {args: [1], operator: InRange, values: ["0:0x10", "16:20", "-5:-1"]}
      - {args: [1], index: 6, operator: NotEqual, values: [3, 010, "0xb", 3]}
      matchBinaries:
      - {operator: NotIn, values: [/usr/bin/cat, /bin/ls], followChildren: false}
      matchActions:
      - {action: sigKILL, argError: 0}
      - {action: Signal, argSig: 10}
      - {action: NoPost, kernelStackTrace: false, rateLimit: ""}
    - matchArgs:
      - {index: 7, operator: GT, values: [4294967295]}
    args:
    - {index: 6, type: string, label: path}
    - {index: 5, type: int}
    - {index: 7, type: uint32, resolve: ""}
    - {index: 8}
  - {subsystem: sched, event: sched_process_exit}
`

func TestParseWholeLanguage(t *testing.T) {
	t.Parallel()
	got, err := Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	signed := func(lo, hi int64) Range { return Range{uint64(lo), uint64(hi)} }
	want := &Policy{
		Name:        "full.example",
		Kind:        Cluster,
		Mode:        Monitor,
		Labels:      map[string]string{"team": "a"},
		Annotations: map[string]string{"note": "1"},
		PodSelector: &LabelSelector{[]Requirement{
			{"app", LabelIn, []string{"web"}},
			{"k8s:io.kubernetes.pod.namespace", LabelNotIn, []string{"dev", "kube-system"}},
			{"canary", LabelDoesNotExist, nil},
		}},
		ContainerSelector: &LabelSelector{[]Requirement{
			{"repo", LabelIn, []string{"docker.io/library/busybox"}},
			{"io.kubernetes.cri.container-name", LabelExists, nil},
		}},
		HostSelector: true,
		Hooks: []Hook{
			{
				Section: Tracepoints, Subsystem: "syscalls", Event: "sys_enter_openat", Message: "an open", Tags: []string{"file", "observability"},
				Args: []Arg{
					{Index: 6, Type: ArgString, Label: "path"}, {Index: 5, Type: ArgInt32}, {Index: 7, Type: ArgUint32}, {Index: 8},
				},
				Selectors: []Selector{
					{
						Args: []ArgFilter{
							{Arg: 0, Op: OpPostfix, Strings: []string{".key", ".pem"}, Values: []string{".key", ".pem"}},
							{Arg: 1, Op: OpInRange, Ranges: []Range{signed(-5, 20)}, Values: []string{"0:0x10", "16:20", "-5:-1"}},
							{
								Arg: 1, Op: OpNotEqual, Ranges: []Range{{3, 3}, {8, 8}, {11, 11}},
								Values: []string{"3", "010", "0xb", "3"},
							},
						},
						Binaries: []BinaryFilter{{Op: OpNotIn, Values: []string{"/bin/ls", "/usr/bin/cat"}}},
						Actions:  []Action{{Kind: Sigkill}, {Kind: Signal, Signal: 10}, {Kind: NoPost}},
					},
					{
						Args:    []ArgFilter{{Arg: 2, Op: OpGreaterThan, Ranges: []Range{}, Values: []string{"4294967295"}}},
						Actions: []Action{{Kind: Post}},
					},
				},
			},
			{
				Section: Tracepoints, Index: 1, Subsystem: "sched", Event: "sched_process_exit",
				Selectors: []Selector{{Actions: []Action{{Kind: Post}}}},
			},
		},
		Text: full,
	}
	unexported := cmpopts.IgnoreUnexported(Hook{}, ArgFilter{})
	if diff := cmp.Diff(want, got, unexported); diff != "" {
		t.Error("policy (-want +got):\n", diff)
	}
	if got.Key() != "full.example" || !got.Enforces() || got.Hooks[0].Selectors[0].Posts() {
		t.Error("key, enforcement or posting is wrong")
	}
}

func TestParseNamespaced(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(`---
apiVersion: cilium.io/v1alpha1
kind: TracingPolicyNamespaced
metadata: {name: a, namespace: prod}
spec: {tracepoints: [{subsystem: sched, event: x}]}
---
`))
	if err != nil {
		t.Fatal(err)
	}
	if p.Key() != "prod/a" || p.Kind != Namespaced || p.Mode != MonitorOnly {
		t.Errorf("key %s, kind %s, mode %s", p.Key(), p.Kind, p.Mode)
	}
	if _, err := p.WithMode(Enforce); !errors.Is(err, ErrMonitorOnly) {
		t.Errorf("mode of a policy with nothing to enforce: %v", err)
	}
}

func TestWithMode(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	changed, err := p.WithMode(Enforce)
	if err != nil || changed.Mode != Enforce || p.Mode != Monitor {
		t.Errorf("changed to %v, original %v, %v", changed, p.Mode, err)
	}
	if _, err := p.WithMode(MonitorOnly); err == nil || errors.Is(err, ErrMonitorOnly) {
		t.Errorf("monitor_only can be chosen: %v", err)
	}
}

// wrap puts hooks' YAML, indented, into an envelope; its first line is line 6.
func wrap(spec string) string {
	return "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: a\nspec:\n" + spec
}

// hookWith is a hook with an int at position 0 (index 5), a string at position 1
// (index 6), a uint8 (index 7) and an auto (index 8); the rest starts on line 14.
func hookWith(rest string) string {
	return wrap(`  tracepoints:
  - subsystem: syscalls
    event: sys_enter_openat
    args:
    - {index: 5, type: int}
    - {index: 6, type: string}
    - {index: 7, type: uint8}
    - {index: 8, type: auto}
`) + rest
}

// kprobeWith is a hook on a function with an int at position 0; the rest starts on
// line 11.
func kprobeWith(rest string) string {
	return wrap(`  kprobes:
  - call: security_x
    syscall: false
    args:
    - {index: 0, type: int}
`) + rest
}

func filter(item string) string {
	return hookWith("    selectors:\n    - matchArgs:\n      - " + item + "\n")
}

const filterPath = "spec.tracepoints[0].selectors[0].matchArgs[0]"

func action(item string) string {
	return hookWith("    selectors:\n    - matchActions:\n      - " + item + "\n")
}

const actionPath = "spec.tracepoints[0].selectors[0].matchActions[0]"

func binaries(item string) string {
	return hookWith("    selectors:\n    - matchBinaries:\n      - " + item + "\n")
}

const binaryPath = "spec.tracepoints[0].selectors[0].matchBinaries[0]"

const hookTail = "  tracepoints: [{subsystem: s, event: e}]\n"

type faultCase struct {
	name, text  string
	path        string
	line        int
	reason      string // a part of it
	unsupported bool
}

func (c faultCase) run(t *testing.T) {
	t.Parallel()
	c.check(t, c.name)
}

func (c faultCase) check(t *testing.T, name string) {
	t.Helper()
	p, err := Parse([]byte(c.text))
	faults := Faults(err)
	if p != nil || len(faults) != 1 {
		t.Errorf("%s: %d faults, want one:\n%v", name, len(faults), err)
		return
	}
	f := faults[0]
	if f.Path != c.path || f.Line != c.line || !strings.Contains(f.Reason, c.reason) {
		t.Errorf("%s: got %q line %d %q\nwant %q line %d ...%q", name, f.Path, f.Line, f.Reason, c.path, c.line, c.reason)
	}
	if errors.Is(err, ErrUnsupported) != c.unsupported {
		t.Errorf("%s: errors.Is(ErrUnsupported) is %v", name, !c.unsupported)
	}
}

func TestFaultsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := Parse([]byte(`apiVersion: v1
kind: Pod
metadata: {name: A_b}
spec:
  uprobes: [{path: x}]
  nonsense: 1
  tracepoints:
  - event: a/b
    args: [{index: -1, type: float}]
    selectors:
    - matchActions: [{action: Signal}, {action: Override}]
`))
	want := []string{
		"line 1: apiVersion: ", "line 2: kind: ", "line 3: metadata.name: ", "line 5: spec.uprobes: not supported by this version",
		"line 6: spec.nonsense: unknown key", "line 8: spec.tracepoints[0].event: ", "line 8: spec.tracepoints[0]: subsystem is required",
		"line 9: spec.tracepoints[0].args[0].index: ", "line 9: spec.tracepoints[0].args[0].type: ",
		"line 11: spec.tracepoints[0].selectors[0].matchActions[0]: Signal needs argSig",
		"line 11: spec.tracepoints[0].selectors[0].matchActions[1].action: Override: a tracepoint only tells",
	}
	faults := Faults(err)
	if len(faults) != len(want) {
		t.Fatalf("%d faults, want %d:\n%v", len(faults), len(want), err)
	}
	for i, f := range faults {
		if !strings.HasPrefix(f.Error(), want[i]) {
			t.Errorf("fault %d is %q, want %q...", i, f, want[i])
		}
	}
}

func TestFaultsAreBounded(t *testing.T) {
	t.Parallel()
	var keys strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&keys, "  key%d: 1\n", i)
	}
	_, err := Parse([]byte(wrap(keys.String() + hookTail)))
	if n := len(Faults(err)); n != maxFaults+1 || !strings.Contains(err.Error(), "more than 100 faults") {
		t.Errorf("%d faults: %.300v", n, err)
	}
	if n := len(Faults(fmt.Errorf("add policy: %w", err))); n != maxFaults+1 {
		t.Errorf("%d faults in a wrapped error", n)
	}
	if Faults(nil) != nil || Faults(errors.New("x")) != nil {
		t.Error("faults of an error that holds none")
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(hookWith(`    message: "x` + strings.Repeat("é", 200) + `"
    tags: ["` + strings.Repeat("t", 200) + `"]
    selectors:
    - matchBinaries: [{operator: In, values: [/bin/../sh]}]
`)))
	if err != nil {
		t.Fatal(err)
	}
	idle, err := Parse([]byte(wrap("  enforcers: [{calls: [sys_a]}]\n" + hookTail)))
	if err != nil || len(idle.Warnings) != 1 || idle.Warnings[0].Error() != "line 6: spec.enforcers: does nothing: no selector has the action NotifyEnforcer" {
		t.Errorf("enforcers that nothing notifies: %v, %v", err, idle)
	}
	tp := p.Hooks[0]
	if tp.Message != "x"+strings.Repeat("é", 127) || tp.Tags[0] != strings.Repeat("t", 128) {
		t.Errorf("message of %d bytes, tag of %d", len(tp.Message), len(tp.Tags[0]))
	}
	var lines []int
	for _, w := range p.Warnings {
		lines = append(lines, w.Line)
	}
	if diff := cmp.Diff([]int{14, 15, 17}, lines); diff != "" {
		t.Error("lines of warnings (-want +got):\n", diff, p.Warnings)
	}
}

func TestMergeKeysAndAliases(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(wrap(`  tracepoints:
  - &first
    subsystem: syscalls
    event: sys_enter_open
    args: &args [{index: 5, type: string}]
    selectors: &kill
    - matchArgs: [{index: 5, operator: Equal, values: [/etc/shadow]}]
      matchActions: [{action: Sigkill}]
  - {subsystem: syscalls, event: a, args: *args, selectors: *kill}
  - <<: *first
    event: b
  - <<: [{event: c}, *first]
`)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tp := range p.Hooks {
		got = append(got, fmt.Sprint(tp.Subsystem, " ", tp.Event, " ", tp.Selectors[0].Args[0].Strings, tp.Enforces()))
	}
	want := []string{
		"syscalls sys_enter_open [/etc/shadow] true", "syscalls a [/etc/shadow] true",
		"syscalls b [/etc/shadow] true", "syscalls c [/etc/shadow] true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("hooks (-want +got):\n", diff)
	}
}
