// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/attach/described"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func kernel(t testing.TB) *described.Kernel {
	t.Helper()
	k, err := described.Named("6.12-inject")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// compiled is a policy of a name, with the rest of its spec.
func compiled(t testing.TB, name, spec string) *compile.Policy {
	t.Helper()
	kind := "TracingPolicy"
	meta := "{name: " + name + "}"
	if namespace, rest, ok := strings.Cut(name, "/"); ok {
		kind, meta = "TracingPolicyNamespaced", "{name: "+rest+", namespace: "+namespace+"}"
	}
	p, err := policy.Parse([]byte("apiVersion: cilium.io/v1alpha1\nkind: " + kind + "\nmetadata: " + meta + "\nspec:\n" + spec))
	if err != nil {
		t.Fatal(err)
	}
	c, err := compile.Compile(p, kernel(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func event(t testing.TB, text string) *tetragon.GetEventsResponse {
	t.Helper()
	e, err := parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return e
}

// words are outcomes in short: "0 killed", with "? what" for what is unknown.
func words(outcomes []Outcome) string {
	var all []string
	for _, o := range outcomes {
		text := fmt.Sprintf("%d %s", o.Rule, o.Verdict)
		if !o.Certain {
			text += " ? " + strings.Join(o.Unknown, ", ")
		}
		all = append(all, text)
	}
	return strings.Join(all, "; ")
}

const (
	open   = `  tracepoints: [{subsystem: syscalls, event: sys_enter_openat, args: [{index: 6, type: string, label: name}, {index: 7, type: int32}], selectors: [`
	killIt = `matchActions: [{action: Sigkill}]`
	closed = `]}]`
	secret = `{matchArgs: [{args: [0], operator: Prefix, values: [/secret/]}], ` + killIt + `}`
)

func opened(process, args string) string {
	return `{"process_tracepoint":{"process":{` + process + `},"subsys":"syscalls","event":"sys_enter_openat","policy_name":"p","args":[` + args + `]}}`
}

const readSecret = `{"string_arg":"/secret/a","label":"name"},{"int_arg":-5}`

func TestEvents(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, spec, event, want string
	}{
		{"match", open + secret + closed, opened(`"pid":1`, readSecret), "0 killed"},
		{"no_match", open + secret + closed, opened(`"pid":1`, `{"string_arg":"/public","label":"name"},{"int_arg":1}`), ""},
		{"another_event", open + secret + closed, `{"process_tracepoint":{"process":{},"subsys":"syscalls","event":"sys_enter_open","policy_name":"p"}}`, ""},
		{"first_rule_wins", open + secret + ", {}" + closed, opened(`"pid":1`, readSecret), "0 killed"},
		{"second_rule", open + secret + ", {}" + closed, opened(`"pid":1`, `{"string_arg":"/x","label":"name"},{"int_arg":1}`), "1 reported"},
		{"unreadable_is_a_match_of_what_kills", open + secret + closed, opened(`"pid":1`, `{"label":"name"},{"int_arg":1}`), "0 killed"},
		{"unreadable_is_none_of_what_reports", open + `{matchArgs: [{args: [0], operator: Prefix, values: [/secret/]}]}` + closed, opened(`"pid":1`, `{"label":"name"},{"int_arg":1}`), ""},
		{"replaced_bytes_are_unknown", open + secret + closed, opened(`"pid":1`, `{"string_arg":"/secret/\uFFFD","label":"name"},{"int_arg":1}`), "0 killed ? argument name"},
		{"signed_number", open + `{matchArgs: [{args: [1], operator: LT, values: ["0"]}], ` + killIt + `}` + closed, opened(`"pid":1`, readSecret), "0 killed"},
		{"mask_twice", open + `{matchArgs: [{args: [1], operator: Mask, values: ["1"]}, {args: [1], operator: Mask, values: ["2"]}]}` + closed, opened(`"pid":1`, `{"string_arg":"a","label":"name"},{"int_arg":3}`), "0 reported"},
		{"mask_only_once", open + `{matchArgs: [{args: [1], operator: Mask, values: ["1"]}, {args: [1], operator: Mask, values: ["2"]}]}` + closed, opened(`"pid":1`, `{"string_arg":"a","label":"name"},{"int_arg":2}`), ""},
		{"no_post", open + `{matchActions: [{action: NoPost}]}` + closed, opened(`"pid":1`, readSecret), "0 ignored"},
		{"other_labels_are_another_policy", open + secret + closed, opened(`"pid":1`, `{"string_arg":"/secret/a","label":"other"},{"int_arg":1}`), `0 killed ? argument name (the policy "p", which recorded the event, is not known with such arguments)`},
		{"fewer_arguments", open + secret + closed, opened(`"pid":1`, `{"string_arg":"/secret/a","label":"name"}`), `0 killed ? argument name (the policy "p", which recorded the event, is not known with such arguments)`},
		{"binary", open + `{matchBinaries: [{operator: In, values: [/bin/cat]}], ` + killIt + `}` + closed, opened(`"binary":"/bin/cat"`, readSecret), "0 killed"},
		{"another_binary", open + `{matchBinaries: [{operator: In, values: [/bin/cat]}], ` + killIt + `}` + closed, opened(`"binary":"/bin/sh"`, readSecret), ""},
		{"no_binary", open + `{matchBinaries: [{operator: NotPrefix, values: [/bin/]}], ` + killIt + `}` + closed, opened(`"pid":1`, readSecret), "0 killed ? the process' binary"},
		{"pid", open + `{matchPIDs: [{operator: In, values: [7]}], ` + killIt + `}` + closed, opened(`"pid":7`, readSecret), "0 killed"},
		{"namespace_pid", open + `{matchPIDs: [{operator: In, isNamespacePID: true, values: [7]}], ` + killIt + `}` + closed, opened(`"pid":7`, readSecret), "0 killed ? the process' id in its pid namespace"},
		{"host_namespace", open + `{matchNamespaces: [{namespace: Net, operator: In, values: [host_ns]}], ` + killIt + `}` + closed, opened(`"ns":{"net":{"inum":4026531840,"is_host":true}}`, readSecret), "0 killed"},
		{"own_namespace", open + `{matchNamespaces: [{namespace: Net, operator: In, values: [host_ns]}], ` + killIt + `}` + closed, opened(`"ns":{"net":{"inum":4026532000}}`, readSecret), ""},
		{"no_namespace", open + `{matchNamespaces: [{namespace: Net, operator: NotIn, values: ["1"]}], ` + killIt + `}` + closed, opened(`"ns":{}`, readSecret), "0 killed ? the process' Net namespace"},
		{"capabilities", open + `{matchCapabilities: [{type: Effective, operator: In, values: [CAP_KILL]}], ` + killIt + `}` + closed, opened(`"cap":{"effective":["CAP_KILL"]}`, readSecret), "0 killed"},
		{"no_capabilities", open + `{matchCapabilities: [{type: Effective, operator: In, values: [CAP_KILL]}], ` + killIt + `}` + closed, opened(`"pid":1`, readSecret), "0 killed ? the process' Effective capabilities"},
		{"no_process", "  containerSelector: {}\n" + open + secret + closed, `{"process_tracepoint":{"subsys":"syscalls","event":"sys_enter_openat","policy_name":"p","args":[` + readSecret + `]}}`, "0 killed ? the process"},
		{"decided_in_spite_of_unknown", open + `{matchPIDs: [{operator: In, isNamespacePID: true, values: [7]}], matchArgs: [{args: [0], operator: Equal, values: [/x]}]}` + closed, opened(`"pid":7`, readSecret), ""},
		{"unknown_first_then_certain", open + `{matchPIDs: [{operator: In, isNamespacePID: true, values: [7]}], ` + killIt + `}, {}` + closed, opened(`"pid":7`, readSecret), "0 killed ? the process' id in its pid namespace; 1 reported ? the process' id in its pid namespace"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := New(Options{Policies: []*compile.Policy{compiled(t, "p", tt.spec)}, HostNamespace: kernel(t).HostNamespace})
			outcomes, _ := s.Event(event(t, tt.event))
			if got := words(outcomes); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestOtherHooks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, spec, event, want string
	}{
		{"lsm", `  lsmhooks: [{hook: file_open, args: [{index: 0, type: file}], selectors: [{matchArgs: [{index: 0, operator: Equal, values: [/a]}], matchActions: [{action: Override, argError: -1}]}]}]`,
			`{"process_lsm":{"process":{"pid":1},"function_name":"file_open","policy_name":"p","args":[{"file_arg":{"path":"/a"}}]}}`, "0 denied"},
		{"path_that_was_not_resolved", `  lsmhooks: [{hook: file_open, args: [{index: 0, type: file}], selectors: [{matchArgs: [{index: 0, operator: Equal, values: [/a]}], matchActions: [{action: Override, argError: -1}]}]}]`,
			`{"process_lsm":{"process":{"pid":1},"function_name":"file_open","policy_name":"p","args":[{"file_arg":{"path":"/b","flags":"unresolvedPathComponents"}}]}}`, "0 denied"},
		{"kprobe_port", `  kprobes: [{call: tcp_connect, syscall: false, args: [{index: 0, type: sock}], selectors: [{matchArgs: [{index: 0, operator: DPort, values: ["443"]}, {index: 0, operator: DAddr, values: [10.0.0.0/8]}, {index: 0, operator: Family, values: [AF_INET]}, {index: 0, operator: Protocol, values: [IPPROTO_TCP]}], matchActions: [{action: Signal, argSig: 15}]}]}]`,
			`{"process_kprobe":{"process":{"pid":1},"function_name":"tcp_connect","policy_name":"p","args":[{"sock_arg":{"family":"AF_INET","protocol":"IPPROTO_TCP","daddr":"10.1.2.3","dport":443}}]}}`, "0 signaled"},
		{"kprobe_another_address", `  kprobes: [{call: tcp_connect, syscall: false, args: [{index: 0, type: sock}], selectors: [{matchArgs: [{index: 0, operator: DAddr, values: [10.0.0.0/8]}]}]}]`,
			`{"process_kprobe":{"process":{"pid":1},"function_name":"tcp_connect","policy_name":"p","args":[{"sock_arg":{"family":"AF_INET","daddr":"11.1.2.3"}}]}}`, ""},
		{"exec_of_a_binary", `  lsmhooks: [{hook: bprm_check_security, args: [{index: 0, type: linux_binprm}], selectors: [{matchArgs: [{index: 0, operator: Postfix, values: [/nc]}], matchActions: [{action: Sigkill}]}]}]`,
			`{"process_exec":{"process":{"binary":"/bin/nc"}}}`, "0 killed"},
		{"exec_caller_is_unknown", `  lsmhooks: [{hook: bprm_check_security, selectors: [{matchBinaries: [{operator: In, values: [/bin/nc]}], matchActions: [{action: Sigkill}]}]}]`,
			`{"process_exec":{"process":{"binary":"/bin/nc"}}}`, "0 killed ? the process' binary"},
		{"exec_done", `  tracepoints: [{subsystem: sched, event: sched_process_exec, args: [{index: 4, type: string}], selectors: [{matchBinaries: [{operator: In, values: [/bin/nc]}]}, {matchArgs: [{index: 4, operator: Prefix, values: [/x]}]}]}]`,
			`{"process_exec":{"process":{"binary":"/bin/nc"}}}`, "0 reported"},
		{"exec_text_is_unknown", `  tracepoints: [{subsystem: sched, event: sched_process_exec, args: [{index: 4, type: string, label: file}], selectors: [{matchArgs: [{index: 4, operator: Prefix, values: [/x]}]}]}]`,
			`{"process_exec":{"process":{"binary":"/bin/nc"}}}`, "0 reported ? argument file"},
		{"exit_is_no_hook", `  tracepoints: [{subsystem: sched, event: sched_process_exec}]`, `{"process_exit":{"process":{"pid":1}}}`, ""},
		{"monitor", "  options: [{name: policy-mode, value: monitor}]\n" + open + secret + closed, opened(`"pid":1`, readSecret), "0 reported"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := New(Options{Policies: []*compile.Policy{compiled(t, "p", tt.spec)}, HostNamespace: kernel(t).HostNamespace})
			outcomes, _ := s.Event(event(t, tt.event))
			if got := words(outcomes); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// The policy that recorded an event says which argument is which.
func TestRecorders(t *testing.T) {
	t.Parallel()
	// It reads the same in another order, and one more.
	recorder := compiled(t, "recorder", `  tracepoints: [{subsystem: syscalls, event: sys_enter_openat, args: [{index: 8, type: uint32}, {index: 7, type: int32}, {index: 6, type: string}]}]`)
	other := compiled(t, "recorder", `  tracepoints: [{subsystem: syscalls, event: sys_enter_openat, args: [{index: 8, type: uint32}, {index: 7, type: int32}, {index: 5, type: int32}]}]`)
	e := event(t, `{"process_tracepoint":{"process":{"pid":1},"subsys":"syscalls","event":"sys_enter_openat","policy_name":"recorder","args":[{"uint_arg":1},{"int_arg":-5},{"string_arg":"/secret/a"}]}}`)
	simulated := []*compile.Policy{compiled(t, "p", open+secret+closed)}
	for _, tt := range []struct {
		recorders []*compile.Policy
		want      string
	}{
		{nil, `0 killed ? argument name (the policy "recorder", which recorded the event, is not known with such arguments)`},
		{[]*compile.Policy{recorder}, "0 killed"},
		{[]*compile.Policy{other}, `0 killed ? argument name (the policy "recorder", which recorded the event, is not known with such arguments)`},
	} {
		outcomes, _ := New(Options{Policies: simulated, Recorders: tt.recorders}).Event(e)
		if got := words(outcomes); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// Of arguments of one type the one that is read at the same place is meant.
func TestArgumentsOfOneType(t *testing.T) {
	t.Parallel()
	flags := compiled(t, "p", `  tracepoints: [{subsystem: syscalls, event: sys_enter_openat, args: [{index: 7, type: int32, label: flags}], selectors: [{matchArgs: [{index: 7, operator: Equal, values: ["2"]}], `+killIt+`}]}]`)
	for args, want := range map[string]string{
		"{index: 5, type: int32}, {index: 7, type: int32}": "0 killed",
		"{index: 7, type: int32}, {index: 5, type: int32}": "",
		"{index: 5, type: int32}, {index: 8, type: int32}": `0 killed ? argument flags (the policy "recorder", which recorded the event, does not read it)`,
	} {
		recorder := compiled(t, "recorder", "  tracepoints: [{subsystem: syscalls, event: sys_enter_openat, args: ["+args+"]}]")
		e := event(t, `{"process_tracepoint":{"process":{"pid":1},"subsys":"syscalls","event":"sys_enter_openat","policy_name":"recorder","args":[{"int_arg":1},{"int_arg":2}]}}`)
		outcomes, _ := New(Options{Policies: []*compile.Policy{flags}, Recorders: []*compile.Policy{recorder}}).Event(e)
		if got := words(outcomes); got != want {
			t.Errorf("%s: got %q, want %q", args, got, want)
		}
	}
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	const rest = "\n" + open + secret + closed
	for _, tt := range []struct{ name, selectors, process, want string }{
		{"p", "  containerSelector: {}", `"docker":"c"`, "0 killed"},
		{"p", "  containerSelector: {}", `"pid":1`, ""},
		{"p", "  hostSelector: {}", `"pid":1`, "0 killed"},
		{"p", "  hostSelector: {}", `"docker":"c"`, ""},
		{"p", "  containerSelector: {matchLabels: {name: web}}", `"docker":"c","pod":{"container":{"name":"web"}}`, "0 killed"},
		{"p", "  containerSelector: {matchLabels: {name: web}}", `"docker":"c","pod":{"container":{"name":"db"}}`, ""},
		{"p", "  containerSelector: {matchLabels: {name: web}}", `"docker":"c"`, "0 killed ? the container's label or annotation name"},
		{"p", "  containerSelector: {matchLabels: {repo: r/a}}", `"docker":"c","pod":{"container":{"image":{"name":"r/a:1"}}}`, "0 killed"},
		{"p", "  containerSelector: {matchLabels: {tier: x}}", `"docker":"c","pod":{"container":{"name":"web"}}`, "0 killed ? the container's label or annotation tier"},
		{"p", "  containerSelector: {matchLabels: {tier: x, name: db}}", `"docker":"c","pod":{"container":{"name":"web"}}`, ""},
		{"p", "  podSelector: {matchLabels: {app: a}}", `"docker":"c","pod":{"name":"n","namespace":"s","pod_labels":{"app":"a"}}`, "0 killed"},
		{"p", "  podSelector: {matchLabels: {app: a}}", `"docker":"c","pod":{"name":"n","namespace":"s"}`, ""},
		{"p", "  podSelector: {}", `"docker":"c","pod":{"container":{"name":"web"}}`, ""},
		{"s/p", "", `"docker":"c","pod":{"name":"n","namespace":"s"}`, "0 killed"},
		{"s/p", "", `"docker":"c","pod":{"name":"n","namespace":"z"}`, ""},
		{"s/p", "", `"pid":1`, ""},
		{"p", "  nodeSelector: {matchLabels: {zone: a}}", `"pid":1`, "0 killed ? the node's label zone"},
	} {
		spec := strings.TrimPrefix(tt.selectors+rest, "\n")
		s := New(Options{Policies: []*compile.Policy{compiled(t, tt.name, spec)}})
		outcomes, _ := s.Event(event(t, opened(tt.process, readSecret)))
		if got := words(outcomes); got != tt.want {
			t.Errorf("%s for %s: got %q, want %q", tt.selectors, tt.process, got, tt.want)
		}
		s.Selected = true
		if outcomes, _ := s.Event(event(t, opened(tt.process, readSecret))); words(outcomes) != "0 killed" {
			t.Errorf("%s for %s, selected: %q", tt.selectors, tt.process, words(outcomes))
		}
	}
}

func TestTally(t *testing.T) {
	t.Parallel()
	spec := open + secret + closed + "\n  lsmhooks: [{hook: file_open}]"
	tally := NewTally(New(Options{Policies: []*compile.Policy{compiled(t, "p", spec)}}))
	text := opened(`"pid":1`, readSecret) + "\n\n" + opened(`"pid":1`, `{"string_arg":"/","label":"name"},{"int_arg":1}`) + "\n{}\n"
	var lines []int
	err := Read(strings.NewReader(text), func(line int, e *tetragon.GetEventsResponse) error {
		if len(tally.Event(e)) > 0 {
			lines = append(lines, line)
		}
		return nil
	})
	end := tally.End()
	if err != nil || !slices.Equal(lines, []int{1}) || end.Events != 3 || end.Hooked != 2 || end.Certain[Killed] != 1 || !end.Enforced() || end.Open() {
		t.Errorf("lines %v, summary %+v, error %v", lines, end, err)
	}
	if !slices.Equal(end.Untouched, []string{"p spec.lsmhooks[0]"}) {
		t.Errorf("untouched %q", end.Untouched)
	}
}

func TestReadFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{}\n{": "line 2: no event: ", "[]": "line 1: no event: ", `{"process_exec":7}`: "line 1: no event: ", "\x00": "line 1: no event: ",
		"{}\n" + strings.Repeat(" ", MaxLine) + "{}": "line 2: is longer than",
	} {
		err := Read(strings.NewReader(text), func(int, *tetragon.GetEventsResponse) error { return nil })
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.20q: %v, want %s...", text, err, want)
		}
	}
	stop := errors.New("stop")
	if err := Read(strings.NewReader("{}\n{}"), func(int, *tetragon.GetEventsResponse) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	if err := Read(strings.NewReader(`{"a_field_of_later":1}`), func(int, *tetragon.GetEventsResponse) error { return nil }); err != nil {
		t.Errorf("a field that is not known: %v", err)
	}
}

// FuzzRead: whatever is in a file of events, it is read or refused, and simulated.
func FuzzRead(f *testing.F) {
	for _, text := range []string{
		"", "{}\n\n{}", opened(`"pid":1`, readSecret), `{"process_lsm":{"function_name":"file_open","args":[{}],"policy_name":"p"}}`,
		`{"process_exec":{"process":{"binary":"/a"}}}`, `{"process_kprobe":{"function_name":"tcp_connect","policy_name":"p","args":[{"sock_arg":{}}]}}`,
	} {
		f.Add([]byte(text))
	}
	p := compiled(f, "p", "  containerSelector: {matchLabels: {name: a, x: b}}\n"+open+secret+closed+
		"\n  kprobes: [{call: tcp_connect, syscall: false, args: [{index: 0, type: sock}], selectors: [{matchArgs: [{index: 0, operator: DAddr, values: [10.0.0.0/8]}]}]}]"+
		"\n  lsmhooks: [{hook: bprm_check_security, args: [{index: 0, type: linux_binprm}], selectors: [{matchArgs: [{index: 0, operator: Postfix, values: [/nc]}]}]}]")
	host := kernel(f).HostNamespace
	f.Fuzz(func(t *testing.T, text []byte) {
		tally := NewTally(New(Options{Policies: []*compile.Policy{p}, HostNamespace: host}))
		_ = Read(strings.NewReader(string(text)), func(_ int, e *tetragon.GetEventsResponse) error {
			for _, o := range tally.Event(e) {
				if o.Certain != (len(o.Unknown) == 0) {
					t.Errorf("%+v", o)
				}
			}
			return nil
		})
	})
}
