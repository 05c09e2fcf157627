// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/boltseal/boltseal/agent/internal/attach/described"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// All of the language has words: what is new has to get some.
func TestEverythingHasWords(t *testing.T) {
	t.Parallel()
	known := operators()
	for op := policy.OpEqual; !strings.HasPrefix(op.String(), "Operator("); op++ {
		if known[op] == "" {
			t.Errorf("operator %s has no words", op)
		}
	}
	for k := policy.Post; !strings.HasPrefix(k.String(), "ActionKind("); k++ {
		if actionWords(policy.Action{Kind: k, Signal: 9, Error: -1}) == k.String() {
			t.Errorf("action %s has no words", k)
		}
	}
	for k := compile.Tracepoint; k.String() != "unknown"; k++ {
		if s := (compile.Site{Kind: k, Subsystem: "a", Name: "b"}); mechanism(s) == s.String() {
			t.Errorf("mechanism %s has no words", k)
		}
	}
}

// A field of a policy that nobody explains would make an explanation a lie.
func TestFieldsAreExplained(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		of   any
		want string
	}{
		{policy.Policy{}, "Name Namespace Kind Mode Labels Annotations PodSelector ContainerSelector HostSelector NodeSelector Hooks Enforcers Options Warnings Text"},
		{policy.Hook{}, "Section Index Subsystem Event Raw Calls List Syscall IgnoreMissing Args Return ReturnArg Message Tags Selectors"},
		{policy.Arg{}, "Index Type Label SizeArg ReturnCopy"},
		{policy.Selector{}, "Args Binaries PIDs Namespaces Capabilities Actions ReturnArgs ReturnActions"},
		{policy.Action{}, "Kind Signal Error Target RateLimit RateScope KernelStack UserStack Hash Sock"},
		{policy.ArgFilter{}, "Arg Op Strings Masks Prefixes Ranges Values"},
		{policy.BinaryFilter{}, "Op Values FollowChildren"},
		{policy.PIDFilter{}, "Negated Values FollowForks NamespacePID"},
		{policy.NamespaceFilter{}, "Namespace Negated Values Host"},
		{policy.CapabilityFilter{}, "Set Negated Mask Namespaced"},
	} {
		var names []string
		for _, f := range reflect.VisibleFields(reflect.TypeOf(tt.of)) {
			if f.IsExported() {
				names = append(names, f.Name)
			}
		}
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%T has the fields %s, explained are %s: explain the new ones, then name them here", tt.of, got, tt.want)
		}
	}
}

const header = "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n  containerSelector: {}\n"

func explained(t *testing.T, kernel, spec string) *Explanation {
	t.Helper()
	p, err := policy.Parse([]byte(header + spec))
	if err != nil {
		t.Fatalf("%v\n%s", err, spec)
	}
	k, err := described.Named(kernel)
	if err != nil {
		t.Fatal(err)
	}
	return Policy(p, Kernel{Kernel: k, Title: "kernel " + kernel, Describes: k.Describes})
}

// Ways around are told where they are, and nowhere else.
func TestHoles(t *testing.T) {
	t.Parallel()
	const kill = "matchActions: [{action: Sigkill}]"
	for _, tt := range []struct {
		name, kernel, spec string
		want               []string
	}{
		{"no_filter_no_system_call", "6.12", "  tracepoints: [{subsystem: sched, event: sched_process_exec}]", nil},
		{"ptrace_reported", "6.12", "  tracepoints: [{subsystem: syscalls, event: sys_enter_ptrace}]", []string{"32-bit system calls"}},
		{
			"all_openers_killed_in_both_abis", "6.12",
			"  kprobes:\n" + both("open", kill) + both("openat", kill) + both("openat2", kill) + both("creat", kill) + both("open_by_handle_at", kill),
			[]string{"io_uring", "killed, not prevented", "shared descriptors", "open descriptors"},
		},
		{
			"lsm_denies_by_path", "6.12",
			"  lsmhooks: [{hook: file_open, args: [{index: 0, type: file}], selectors: [{matchArgs: [{index: 0, operator: Equal, values: [/a]}], matchActions: [{action: Override, argError: -1}]}]}]",
			[]string{"links and mounts", "open descriptors"},
		},
		{
			"lsm_kills_connect", "6.12", "  lsmhooks: [{hook: socket_connect, selectors: [{" + kill + "}]}]",
			[]string{"killed, not prevented", "not connected"},
		},
		{
			"number_of_user_memory_not", "6.12",
			"  tracepoints: [{subsystem: syscalls, event: sys_enter_setns, args: [{index: 6, type: int32}], selectors: [{matchArgs: [{index: 6, operator: Equal, values: ['1']}]}]}]",
			[]string{"32-bit system calls"},
		},
		{
			"text_of_the_process", "6.12",
			"  tracepoints: [{subsystem: syscalls, event: sys_enter_sethostname, args: [{index: 5, type: string}], selectors: [{matchArgs: [{index: 5, operator: Equal, values: [a]}]}]}]",
			[]string{"user memory", "32-bit system calls"},
		},
		{
			"exec_by_name", "6.12",
			"  lsmhooks: [{hook: bprm_check_security, args: [{index: 0, type: linux_binprm}], selectors: [{matchArgs: [{index: 0, operator: Postfix, values: [/nc]}], " + kill + "}]}]",
			[]string{"links and mounts", "programs by name"},
		},
		{
			"dentry", "6.12",
			"  lsmhooks: [{hook: inode_unlink, args: [{index: 1, type: dentry}], selectors: [{matchArgs: [{index: 1, operator: Prefix, values: [/a]}]}]}]",
			[]string{"links and mounts", "path in its file system"},
		},
		{
			"signal", "6.12", "  lsmhooks: [{hook: task_kill, selectors: [{matchActions: [{action: Signal, argSig: 15}]}]}]",
			[]string{"signals can be handled"},
		},
		{
			"stop_cannot_be_handled", "6.12", "  lsmhooks: [{hook: task_kill, selectors: [{matchActions: [{action: Signal, argSig: 19}]}]}]", nil,
		},
		{
			"binaries_and_pids", "6.12",
			"  lsmhooks: [{hook: task_kill, selectors: [{matchBinaries: [{operator: In, values: [/a]}], matchPIDs: [{operator: In, values: [7]}]}]}]",
			[]string{"binaries by name", "process ids"},
		},
		{"refused", "6.12-nobpf", "  lsmhooks: [{hook: file_open, selectors: [{" + kill + "}]}]", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := explained(t, tt.kernel, tt.spec)
			var got []string
			for _, h := range e.Holes {
				got = append(got, h.Name)
				if h.Text == "" || len(h.Hooks) == 0 {
					t.Errorf("%s says nothing, or of no hook", h.Name)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// both is hooks on a system call in both ABIs.
func both(call, selector string) string {
	var b strings.Builder
	for _, abi := range []string{"", "i386/"} {
		b.WriteString("  - {call: " + abi + "sys_" + call + ", syscall: true, selectors: [{" + selector + "}]}\n")
	}
	return b.String()
}

// The same policy is promised what the kernel can do.
func TestPromisesFollowTheKernel(t *testing.T) {
	t.Parallel()
	const spec = "  kprobes: [{call: sys_unlinkat, syscall: true, selectors: [{matchActions: [{action: Override, argError: -1}]}]}]"
	for kernel, want := range map[string]string{
		"5.10": "", "6.1": "", "6.12": "", "7": "an fmod_ret program at __x64_sys_unlinkat", "6.12-inject": "an fmod_ret program at __x64_sys_unlinkat",
	} {
		e := explained(t, kernel, spec)
		if got := strings.Join(e.Hooks[0].Mechanisms, "; "); got != want || e.Loads != (want != "") || e.Loads != (len(e.Refusals) == 0) {
			t.Errorf("%s: by %q, loads %v, refusals %v; want %q", kernel, got, e.Loads, e.Refusals, want)
		}
	}
}

// What a policy has chosen does not reach a terminal as it is.
func TestTextIsSafe(t *testing.T) {
	t.Parallel()
	e := explained(t, "6.12", "  tracepoints: [{subsystem: sched, event: sched_process_exec, message: \"a\\u001b[31mb\", args: [{index: 4, type: string, label: \"\\u202ex\"}]}]")
	if text := e.Text(); strings.ContainsAny(text, "\x1b\u202e") {
		t.Errorf("%q", text)
	}
}

// FuzzPolicy: what can be parsed can be explained, on any kernel.
func FuzzPolicy(f *testing.F) {
	golden, err := filepath.Glob("../cli/testdata/golden/*.yaml")
	if err != nil || len(golden) == 0 {
		f.Fatal(golden, err)
	}
	for i, file := range golden {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), uint8(i))
	}
	var kernels []Kernel
	for _, name := range described.Names() {
		k, err := described.Named(name)
		if err != nil {
			f.Fatal(err)
		}
		kernels = append(kernels, Kernel{Kernel: k, Title: name, Describes: k.Describes})
	}
	f.Fuzz(func(t *testing.T, text string, kernel uint8) {
		p, err := policy.Parse([]byte(text))
		if err != nil {
			return
		}
		e := Policy(p, kernels[int(kernel)%len(kernels)])
		if e.Loads != (len(e.Refusals) == 0) {
			t.Errorf("loads %v, refusals %v", e.Loads, e.Refusals)
		}
		if strings.ContainsFunc(e.Text(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
			t.Errorf("not for a terminal: %q", e.Text())
		}
	})
}
