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
	for op := policy.OpEqual; !strings.HasPrefix(op.String(), "Operator("); op++ {
		f := policy.ArgFilter{Op: op, Values: []string{"1"}}
		if text := argWords(f, []policy.Arg{{Type: policy.ArgInt32}}, []string{"a"}); strings.Contains(text, op.String()) {
			t.Errorf("operator %s has no words: %s", op, text)
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
		{policy.Policy{}, "Name Namespace Kind Mode Labels Annotations PodSelector ContainerSelector HostSelector NodeSelector Workloads Hooks Enforcers Generated EnforcerLists Options Warnings Text"},
		{policy.Hook{}, "Section Index Subsystem Event Raw Calls List Syscall IgnoreMissing Args Return ReturnArg Message Tags Selectors"},
		{policy.Arg{}, "Index Type Label SizeArg Source Resolve BTFType BTFModule MaxData Elements ReturnCopy"},
		{policy.Selector{}, "Args Data Binaries ParentBinaries PIDs Namespaces Capabilities NamespaceChanges CapabilityChanges Workload Label Actions ReturnArgs ReturnActions"},
		{policy.Action{}, "Kind Signal Error Target RateLimit RateScope KernelStack UserStack Hash Sock"},
		{policy.ArgFilter{}, "Arg Op Old Strings Masks Prefixes Ranges Lists Values"},
		{policy.BinaryFilter{}, "Op Values FollowChildren"},
		{policy.PIDFilter{}, "Negated Values FollowForks NamespacePID"},
		{policy.NamespaceFilter{}, "Namespace Negated Values Host"},
		{policy.NamespaceChangeFilter{}, "Negated Namespaces"},
		{policy.Workload{}, "PodSelector ContainerSelector HostSelector"},
		{policy.Generated{}, "Name Syscalls Pattern"},
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
		{
			"substring_of_a_name", "6.12",
			"  tracepoints: [{subsystem: syscalls, event: sys_enter_chdir, args: [{index: 5, type: string}], selectors: [{matchArgs: [{index: 5, operator: SubString, values: [/a]}]}]}]",
			[]string{"user memory", "names of files", "links and mounts", "32-bit system calls"},
		},
		{
			"type_of_a_file_has_no_path", "6.12",
			"  lsmhooks: [{hook: file_ioctl, args: [{index: 0, type: file}], selectors: [{matchArgs: [{index: 0, operator: FileType, values: [chr]}]}]}]", nil,
		},
		{
			"expression_of_numbers", "6.12",
			"  lsmhooks: [{hook: file_ioctl, args: [{index: 1, type: uint32}], selectors: [{matchArgs: [{operator: CelExpr, values: ['arg0 == uint32(1)']}]}]}]", nil,
		},
		{
			"descendants", "6.12",
			"  lsmhooks: [{hook: task_kill, selectors: [{matchBinaries: [{operator: In, followChildren: true, values: [/a]}]}]}]",
			[]string{"binaries by name", "earlier ancestors"},
		},
		{
			"descendants_of_ids", "6.12",
			"  lsmhooks: [{hook: task_kill, selectors: [{matchPIDs: [{operator: NotIn, followForks: true, values: [7]}]}]}]",
			[]string{"earlier ancestors", "process ids"},
		},
		{
			"parents", "6.12",
			"  lsmhooks: [{hook: task_kill, selectors: [{matchParentBinaries: [{operator: Postfix, values: [/a]}]}]}]",
			[]string{"binaries by name", "programs in between"},
		},
		{
			"any_ancestor", "6.12",
			"  lsmhooks: [{hook: task_kill, selectors: [{matchParentBinaries: [{operator: In, followChildren: true, values: [/a]}]}]}]",
			[]string{"binaries by name", "earlier ancestors"},
		},
		{
			"changes", "6.12",
			"  lsmhooks: [{hook: task_kill, selectors: [{matchNamespaceChanges: [{operator: In, values: [Net]}]}]}]",
			[]string{"changes end with an exec"},
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

// What no description has the running kernel has to be asked for.
func TestStructuresAreAskedFor(t *testing.T) {
	t.Parallel()
	for _, spec := range []string{
		"  lsmhooks: [{hook: file_open, args: [{index: 0, type: string, resolve: f_path.dentry.d_name.name}]}]",
		"  kprobes: [{call: do_exit, syscall: false, data: [{index: 0, type: string, source: current_task, resolve: comm}]}]",
	} {
		e := explained(t, "6.12", spec)
		if text := strings.Join(strings.Fields(e.Text()), " "); e.Loads || !strings.Contains(text, "ask the running kernel for them, without --kernel") {
			t.Errorf("%s:\n%s", spec, text)
		}
	}
}

// Each note is where it belongs.
func TestNotes(t *testing.T) {
	t.Parallel()
	const open = "  tracepoints: [{subsystem: syscalls, event: sys_enter_openat, args: [{index: 6, type: string}], selectors: ["
	for spec, want := range map[string]string{
		open + "{matchActions: [{action: GetUrl, argUrl: 'http://a.example/'}]}]}]":                                "--allow-get-url",
		open + "{matchActions: [{action: DnsLookup, argFqdn: a.example}]}]}]":                                      "--allow-dns-lookup",
		open + "{matchArgs: [{index: 6, operator: SubString, values: [a]}]}]}]":                                    "is not searched",
		open + "{matchArgs: [{index: 6, operator: SubStringIgnCase, values: [a]}]}]}]":                             "only A to Z",
		open + "{matchArgs: [{index: 6, operator: SubString, values: [a]}], matchActions: [{action: Sigkill}]}]}]": "cannot be read for a match",
		open + "{matchActions: [{action: Post, rateLimit: 5m}]}]}]":                                                "keeps back events alone",
		open + "{label: x}]}]": "counted apart",
		"  lists: [{name: l, type: generated_syscalls, pattern: ^sys_mount$}]\n  kprobes: [{call: 'list:l', syscall: true}]":            "here 1;",
		"  lists: [{name: l, type: generated_ftrace, pattern: ^security_file_}]\n  kprobes: [{call: 'list:l', syscall: false}]":         "few of its functions",
		"  lsmhooks: [{hook: task_kill, selectors: [{matchCapabilityChanges: [{type: Effective, operator: In, values: [CAP_KILL]}]}]}]": "when the policy was loaded",
	} {
		notes := strings.Join(explained(t, "6.12", spec).Notes, "; ")
		if !strings.Contains(notes, want) {
			t.Errorf("%s: no %q in %s", spec, want, notes)
		}
		if plain := explained(t, "6.12", open+"{}]}]"); len(plain.Notes) > 0 {
			t.Errorf("without anything to note: %q", plain.Notes)
		}
	}
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
