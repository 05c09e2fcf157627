// SPDX-License-Identifier: Apache-2.0

package described

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/attach"
	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/test/lab/truth"
	"github.com/boltseal/boltseal/test/testenv"
)

// To write hooks.tsv anew: run TestRunningKernelIsDescribed with -write on every
// kernel of the lab, then TestHooksAreMerged with -merge and the directory of the files.
var (
	write = flag.String("write", "", "write the running kernel's lines to a file of its name in this directory")
	merge = flag.String("merge", "", "write hooks.tsv from the files in this directory")
)

// The kernel of the lab that runs this is as it is described.
func TestRunningKernelIsDescribed(t *testing.T) {
	testenv.Require(t, testenv.Optional("a kernel of the lab", func() error {
		if os.Getenv(truth.Variable) == "" {
			return errors.New(truth.Variable + " does not name one")
		}
		return nil
	}))
	k, err := Named(os.Getenv(truth.Variable))
	if err != nil {
		t.Fatal(err)
	}
	features := kernel.Probe(t.Context(), kernel.Options{})
	points, err := attach.Open(features)
	if err != nil {
		t.Fatal(err)
	}
	defer points.Close()
	lines := runningLines(t, points)
	column, err := truth.Named(k.Name())
	if err != nil {
		t.Fatal(err)
	}
	if *write != "" {
		if err := os.WriteFile(filepath.Join(*write, column.Kernel()), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	for m := compile.CanKprobe; ; m++ {
		if _, known := attach.FeatureOf(m); !known {
			break
		}
		got, want := k.Can(m), points.Can(m)
		if (got == nil) != (want == nil) {
			t.Errorf("mechanism %d: described as %v, the kernel says %v", m, got, want)
		}
	}
	for kind := compile.Tracepoint; kind <= compile.Fentry; kind++ {
		for _, syscall := range []bool{false, true} {
			if got, want := k.Misses(kind, syscall), points.Misses(kind, syscall); got != want {
				t.Errorf("%s (of a system call: %v) is skipped at times: described as %v, the kernel says %v", kind, syscall, got, want)
			}
		}
	}
	known := describedLines(k)
	for _, line := range lines {
		if !known[line] {
			t.Errorf("not described: %q", line)
		}
		delete(known, line)
	}
	for line := range known {
		t.Errorf("described, and the kernel has it not: %q", line)
	}
}

// describedLines are the lines of a kernel.
func describedLines(k *Kernel) map[string]bool {
	lines := map[string]bool{}
	for name, fields := range k.hooks.events {
		lines[kindEvent+"\t"+name+"\t"+formatFields(fields)] = true
	}
	for kind, of := range map[string]map[string]compile.Prototype{
		kindFunction: k.hooks.functions, kindSecurity: k.hooks.security, kindRaw: k.hooks.raw,
	} {
		for name, p := range of {
			lines[kind+"\t"+name+"\t"+formatPrototype(p)] = true
		}
	}
	return lines
}

// runningLines are those that the running kernel would be described by.
func runningLines(t *testing.T, points *attach.Points) []string {
	t.Helper()
	lines := map[string]bool{}
	types, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	add := func(kind, name string, p compile.Prototype, err error) {
		if err != nil {
			t.Errorf("%s %s: %v", kind, name, err)
			return
		}
		lines[kind+"\t"+name+"\t"+formatPrototype(p)] = true
	}
	for typ, err := range types.All() {
		if err != nil {
			t.Fatal(err)
		}
		name := typ.TypeName()
		if raw, ok := strings.CutPrefix(name, "btf_trace_"); ok {
			p, err := points.RawTracepoint(raw)
			add(kindRaw, raw, p, err)
		}
		if hook, ok := strings.CutPrefix(name, "bpf_lsm_"); ok {
			if _, function := typ.(*btf.Func); function {
				p, err := points.Hook(hook)
				add(kindSecurity, hook, p, err)
			}
		}
	}
	for _, name := range functionNames(t) {
		if described(name) {
			p, err := points.Function(name)
			add(kindFunction, name, p, err)
		}
	}
	for _, event := range eventNames(t) {
		subsystem, name, _ := strings.Cut(event, "/")
		fields, err := points.Tracepoint(subsystem, name)
		if err != nil {
			t.Errorf("event %s: %v", event, err)
		}
		lines[kindEvent+"\t"+event+"\t"+formatFields(fields)] = true
	}
	return slices.Sorted(maps.Keys(lines))
}

// functionNames are the names of functions in the kernel's symbols.
func functionNames(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^\S+ [tT] ([a-z0-9_]+)$`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
	}
	return names
}

// eventNames are the events that are described, but for exits of system calls.
func eventNames(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tracefs", dir, "tracefs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	var names []string
	for _, subsystem := range subsystems() {
		entries, err := os.ReadDir(filepath.Join(dir, "events", subsystem))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() && !strings.HasPrefix(e.Name(), "sys_exit_") {
				names = append(names, subsystem+"/"+e.Name())
			}
		}
	}
	return names
}

// hooks.tsv is in its own form: what is merged anew is the same.
func TestHooksAreMerged(t *testing.T) {
	t.Parallel()
	of := map[string][]string{}
	for _, r := range releases() {
		k, err := Named(r.name)
		if err != nil {
			t.Fatal(err)
		}
		lines := slices.Collect(maps.Keys(describedLines(k)))
		if *merge != "" {
			text, err := os.ReadFile(filepath.Join(*merge, r.name))
			if err != nil {
				t.Fatal(err)
			}
			lines = strings.Split(strings.TrimSpace(string(text)), "\n")
		}
		for _, line := range lines {
			of[line] = append(of[line], r.name)
		}
	}
	var b strings.Builder
	fmt.Fprintln(&b, "# kernels, kind, name, shape: written by the kernels themselves, see running_test.go")
	for _, line := range slices.Sorted(maps.Keys(of)) {
		kernels := strings.Join(of[line], " ")
		if len(of[line]) == len(releases()) {
			kernels = allKernels
		}
		fmt.Fprintf(&b, "%s\t%s\n", kernels, line)
	}
	if *merge != "" {
		if err := os.WriteFile("hooks.tsv", []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if b.String() != hooksText {
		t.Error("hooks.tsv is not as it is merged")
	}
}
