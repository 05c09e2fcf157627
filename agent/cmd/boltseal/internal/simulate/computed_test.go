// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// What is computed from arguments is judged where an event has them.
func TestComputed(t *testing.T) {
	t.Parallel()
	const (
		caps   = `  tracepoints: [{subsystem: syscalls, event: sys_enter_openat, args: [{index: 6, type: string, label: name}, {index: 7, type: int32, label: flags}, {index: 8, type: uint64, label: new}, {index: 5, type: uint64, label: old}], selectors: [`
		values = readSecret + `,{"size_arg":6,"label":"new"},{"size_arg":2,"label":"old"}`
		file   = `  lsmhooks: [{hook: file_open, args: [{index: 0, type: file, label: f}], selectors: [{matchArgs: [{index: 0, operator: `
	)
	opens := func(arg string) string {
		return `{"process_lsm":{"process":{"pid":1},"function_name":"file_open","policy_name":"p","args":[{"label":"f",` + arg + `}]}}`
	}
	labeled := strings.Replace(values, `{"int_arg":-5}`, `{"int_arg":-5,"label":"flags"}`, 1)
	for _, tt := range []struct{ name, spec, event, want string }{
		{"substring", open + `{matchArgs: [{args: [0], operator: SubString, values: [nothing, cret]}], ` + killIt + `}` + closed, opened(`"pid":1`, readSecret), "0 killed"},
		{"no_substring", open + `{matchArgs: [{args: [0], operator: SubString, values: [CRET]}], ` + killIt + `}` + closed, opened(`"pid":1`, readSecret), ""},
		{"folded", open + `{matchArgs: [{args: [0], operator: SubStringIgnCase, values: [CRET]}], ` + killIt + `}` + closed, opened(`"pid":1`, readSecret), "0 killed"},
		{"unreadable_text", open + `{matchArgs: [{args: [0], operator: SubString, values: [x]}], ` + killIt + `}` + closed, opened(`"pid":1`, `{"label":"name"},{"int_arg":1}`), "0 killed"},
		{"expression", open + `{matchArgs: [{operator: CelExpr, values: ["arg1 + int32(6) == int32(1)"]}], ` + killIt + `}` + closed, opened(`"pid":1`, readSecret), "0 killed"},
		{"false_expression", open + `{matchArgs: [{operator: CelExpr, values: ["arg1 > int32(0)"]}], ` + killIt + `}` + closed, opened(`"pid":1`, readSecret), ""},
		{"gained", caps + `{matchArgs: [{operator: CapabilitiesGained, args: [2, 3], values: [CAP_DAC_READ_SEARCH]}], ` + killIt + `}` + closed, opened(`"pid":1`, labeled), "0 killed"},
		{"gained_others", caps + `{matchArgs: [{operator: CapabilitiesGained, args: [2, 3], values: [CAP_DAC_OVERRIDE]}], ` + killIt + `}` + closed, opened(`"pid":1`, labeled), ""},
		{"unknown_operands", caps + `{matchArgs: [{operator: CapabilitiesGained, args: [2, 3]}]}` + closed, opened(`"pid":1`, readSecret),
			`0 reported ? argument new (the policy "p", which recorded the event, is not known with such arguments), argument old (the policy "p", which recorded the event, is not known with such arguments)`},
		{"type", file + `FileType, values: [dir, fifo]}], matchActions: [{action: Sigkill}]}]}]`, opens(`"file_arg":{"path":"/d","permission":"drwxr-xr-x"}`), "0 killed"},
		{"another_type", file + `FileType, values: [dir, fifo]}], matchActions: [{action: Sigkill}]}]}]`, opens(`"file_arg":{"path":"/d","permission":"-rw-r--r--"}`), ""},
		{"not_type", file + `NotFileType, values: [reg]}], matchActions: [{action: Sigkill}]}]}]`, opens(`"file_arg":{"path":"/d","permission":"srw-r--r--"}`), "0 killed"},
		{"type_of_what_has_no_path", file + `NotFileType, values: [reg]}], matchActions: [{action: Sigkill}]}]}]`, opens(`"file_arg":{"path":"","flags":"unresolvedPathComponents","permission":"-rw-r--r--"}`), "0 killed ? argument f"},
		{"perhaps_of_no_type", file + `FileType, values: [reg]}], matchActions: [{action: Sigkill}]}]}]`, opens(`"file_arg":{"path":"/","permission":"-rw-------"}`), "0 killed ? argument f"},
		{"type_that_is_not_told", file + `FileType, values: [reg]}], matchActions: [{action: Sigkill}]}]}]`, opens(`"file_arg":{"path":"/d"}`), "0 killed ? argument f"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := New(Options{Policies: []*compile.Policy{compiled(t, "p", tt.spec)}})
			outcomes, _ := s.Event(event(t, tt.event))
			if got := words(outcomes); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// What events hold of registers is theirs, and told apart from arguments.
func TestData(t *testing.T) {
	t.Parallel()
	const spec = `  kprobes: [{call: tcp_connect, syscall: false, args: [{index: 0, type: sock}], data: [{index: 0, source: pt_regs, resolve: rip, type: uint64}], selectors: [{matchData: [{args: [0], operator: GT, values: ["7"]}], matchActions: [{action: Sigkill}]}]}]`
	s := New(Options{Policies: []*compile.Policy{compiled(t, "p", spec)}})
	for data, want := range map[string]string{
		`"data":[{"size_arg":8}]`: "0 killed",
		`"data":[{"size_arg":7}]`: "",
		`"data":[]`:               `0 killed ? argument data[0] (the policy "p", which recorded the event, is not known with such arguments)`,
	} {
		outcomes, _ := s.Event(event(t, `{"process_kprobe":{"process":{"pid":1},"function_name":"tcp_connect","policy_name":"p","args":[{"sock_arg":{}}],`+data+`}}`))
		if got := words(outcomes); got != want {
			t.Errorf("%s: got %s, want %s", data, got, want)
		}
	}
}
