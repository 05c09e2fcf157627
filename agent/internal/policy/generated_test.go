// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// kernelNames are what a kernel has.
func kernelNames(syscalls bool) ([]string, error) {
	if syscalls {
		return []string{"sys_open", "sys_openat", "sys_read", "sys_write"}, nil
	}
	return []string{"__x64_sys_open", "do_exit", "security_file_open", "security_file_permission", "vfs_read"}, nil
}

// generatedText is a policy with lists and all that uses one.
func generatedText(lists string) string {
	return wrap("  lists: [" + lists + "]\n  enforcers: [{calls: [sys_close, 'list:s']}]\n" +
		"  tracepoints:\n  - {subsystem: raw_syscalls, event: sys_enter, args: [{index: 4, type: syscall64}], " +
		"selectors: [{matchArgs: [{index: 4, operator: InMap, values: [1000, 'list:s']}], matchActions: [{action: NotifyEnforcer, argError: -1}]}]}\n" +
		"  kprobes:\n  - {call: 'list:s'}\n  - {call: 'list:f', syscall: false}\n")
}

func TestGeneratedLists(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(generatedText("{name: s, type: generated_syscalls, pattern: '^sys_open'}, {name: f, type: generated_ftrace, pattern: 'security_file|^do_', values: []}")))
	if err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprintf("%+v", p)
	with, err := p.WithLists(kernelNames)
	if err != nil {
		t.Fatal(err)
	}
	if after := fmt.Sprintf("%+v", p); after != before {
		t.Errorf("the policy has changed:\n%s\n%s", before, after)
	}
	if want := []string{"sys_close", "sys_open", "sys_openat"}; !slices.Equal(with.Enforcers, want) {
		t.Errorf("enforcers %q, want %q", with.Enforcers, want)
	}
	filter := with.Hooks[0].Selectors[0].Args[0]
	known := names{}
	open, _ := known.number("sys_open")
	openat, _ := known.number("sys_openat")
	want := []Range{{open, open}, {openat, openat}, {1000, 1000}}
	if !slices.Equal(filter.Ranges, want) || filter.Lists != nil {
		t.Errorf("filter %+v, want %v", filter, want)
	}
	if got := with.Hooks[1]; !slices.Equal(got.Calls, []string{"sys_open", "sys_openat"}) || got.List != "s" {
		t.Errorf("hook on system calls: %+v", got)
	}
	if got := with.Hooks[2]; !slices.Equal(got.Calls, []string{"do_exit", "security_file_open", "security_file_permission"}) {
		t.Errorf("hook on functions: %+v", got)
	}
	all, err := Parse([]byte(wrap("  lists: [{name: s, type: generated_syscalls}]\n  kprobes: [{call: 'list:s'}]\n")))
	if err == nil {
		all, err = all.WithLists(kernelNames)
	}
	if err != nil || len(all.Hooks[0].Calls) != 4 {
		t.Errorf("all system calls: %v, %v", all, err)
	}
	same, err := Parse([]byte(wrap(hookTail)))
	if with, failed := same.WithLists(nil); err != nil || failed != nil || with != same {
		t.Errorf("no lists: %v, %v", err, failed)
	}
}

func TestGeneratedListFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ list, path, reason string }{
		{"{name: s, type: generated_ftrace}", "spec.lists[0]", "pattern is required"},
		{"{name: s, type: generated_ftrace, pattern: ''}", "spec.lists[0]", "pattern is required"},
		{"{name: s, type: generated_ftrace, pattern: '('}", "spec.lists[0].pattern", "is no regular expression"},
		{"{name: s, type: generated_ftrace, pattern: 'a(?=b)'}", "spec.lists[0].pattern", "is no regular expression"},
		{"{name: s, type: generated_ftrace, pattern: '((a{100}){100}){100}'}", "spec.lists[0].pattern", "is no regular expression"},
		{"{name: s, type: generated_syscalls, pattern: '" + strings.Repeat("a", maxPattern+1) + "'}", "spec.lists[0].pattern", "more than 1024"},
		{"{name: s, type: generated_syscalls, values: [sys_open]}", "spec.lists[0].values", "must be absent"},
		{"{name: s, type: generated_kprobes, pattern: a}", "spec.lists[0].type", "unknown type"},
		{"{name: s, type: syscalls, values: [sys_open], pattern: a}", "spec.lists[0].pattern", "begins with generated_"},
	} {
		_, err := Parse([]byte(wrap("  lists: [" + c.list + "]\n  kprobes: [{call: 'list:s'}]\n")))
		if faults := Faults(err); len(faults) != 1 || faults[0].Path != c.path || faults[0].Line != 6 || !strings.Contains(faults[0].Reason, c.reason) {
			t.Errorf("%.100s: %v; want %s: %s", c.list, err, c.path, c.reason)
		}
	}
}

func TestGeneratedListsThatDoNotFit(t *testing.T) {
	t.Parallel()
	const none = "the kernel has nothing that its pattern matches"
	for _, c := range []struct {
		name, lists string
		all         func(bool) ([]string, error)
		want        []string
	}{
		{"nothing matches", "{name: s, type: generated_syscalls, pattern: zzz}, {name: f, type: generated_ftrace, pattern: zzz}", kernelNames, []string{
			"spec.enforcers[0].calls: list \"s\": " + none, "line 9: spec.tracepoints[0].selectors[0].matchArgs[0].values: list \"s\": " + none,
			"line 11: spec.kprobes[0].call: list \"s\": " + none, "line 12: spec.kprobes[1].call: list \"f\": " + none,
		}},
		{"functions for system calls", "{name: s, type: generated_ftrace, pattern: ^do_}, {name: f, type: generated_ftrace, pattern: ^vfs}", kernelNames, []string{
			"spec.enforcers[0].calls: list \"s\": \"do_exit\" is neither", "matchArgs[0].values: list \"s\": \"do_exit\" is no system call",
			"spec.kprobes[0].call: list \"s\": \"do_exit\" is no system call",
		}},
		{"the kernel does not tell", "{name: s, type: generated_syscalls}, {name: f, type: generated_ftrace, pattern: a}", func(bool) ([]string, error) {
			return nil, errors.New("no such file")
		}, []string{"line 6: spec.lists[0]: no such file", "line 6: spec.lists[1]: no such file"}},
		{"too many names", "{name: s, type: generated_syscalls}, {name: f, type: generated_ftrace, pattern: a}", func(bool) ([]string, error) {
			return slices.Repeat([]string{"sys_a"}, MaxValues+1), nil
		}, []string{"spec.lists[0]: stands for 100001 names, more than 100000"}},
	} {
		p, err := Parse([]byte(generatedText(c.lists)))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		with, err := p.WithLists(c.all)
		if with != nil || err == nil || len(Faults(err)) == 0 {
			t.Errorf("%s: %v, %v", c.name, with, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %q in it", c.name, err, want)
			}
		}
	}
	// What may be left out is.
	p, err := Parse([]byte(wrap("  lists: [{name: f, type: generated_ftrace, pattern: zzz}]\n  kprobes: [{call: 'list:f', syscall: false, ignore: {callNotFound: true}}]\n")))
	if err == nil {
		p, err = p.WithLists(kernelNames)
	}
	if err != nil || len(p.Hooks[0].Calls) != 0 {
		t.Errorf("a hook that may be left out: %v", err)
	}
	// Uses are counted.
	p, err = Parse([]byte(wrap("  lists: [{name: f, type: generated_ftrace, pattern: a}]\n  kprobes:\n" +
		strings.Repeat("  - {call: 'list:f', syscall: false}\n", 1000))))
	if err != nil {
		t.Fatal(err)
	}
	many := make([]string, MaxValues)
	for i := range many {
		many[i] = fmt.Sprint("a", i)
	}
	_, err = p.WithLists(func(bool) ([]string, error) { return many, nil })
	if faults := Faults(err); len(faults) != 1 || faults[0].Path != "spec.kprobes[5].call" || !strings.Contains(faults[0].Reason, "more than 500000 names") {
		t.Errorf("uses of a large list: %.300v", err)
	}
}
