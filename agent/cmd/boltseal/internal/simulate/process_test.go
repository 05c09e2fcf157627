// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"fmt"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// Ancestors are those that events have told of: that there were no others nobody knows.
func TestLineages(t *testing.T) {
	t.Parallel()
	const perhaps = "0 killed ? what the process descends from"
	at := func(id, parent, binary string, pid int) string {
		return fmt.Sprintf(`"exec_id":%q,"parent_exec_id":%q,"binary":%q,"pid":%d`, id, parent, binary, pid)
	}
	shell := `{"process_exec":{"process":{` + at("sh", "init", "/bin/sh", 7) + `}}}`
	child := `{"process_exit":{"process":{` + at("child", "sh", "/bin/env", 8) + `}}}`
	grandchild := opened(at("grandchild", "child", "/bin/cat", 9), readSecret)
	for _, tt := range []struct {
		name, filters, want string
		events              []string
	}{
		{"ancestor", "matchBinaries: [{operator: In, followChildren: true, values: [/bin/sh]}]", "0 killed", []string{shell, child, grandchild}},
		{"not_ancestor", "matchBinaries: [{operator: NotIn, followChildren: true, values: [/bin/sh]}]", "", []string{shell, child, grandchild}},
		{"gap", "matchBinaries: [{operator: In, followChildren: true, values: [/bin/sh]}]", perhaps, []string{shell, grandchild}},
		{"none_shown", "matchBinaries: [{operator: NotIn, followChildren: true, values: [/bin/nc]}]", perhaps, []string{shell, child, grandchild}},
		{"itself", "matchBinaries: [{operator: In, followChildren: true, values: [/bin/cat]}]", "0 killed", []string{grandchild}},
		{"itself_is_no_ancestor", "matchParentBinaries: [{operator: In, followChildren: true, values: [/bin/cat]}]", perhaps, []string{grandchild}},
		{"parent_is_one", "matchParentBinaries: [{operator: In, followChildren: true, values: [/bin/sh]}]", "0 killed", []string{shell, child, grandchild}},
		{"pid", "matchPIDs: [{operator: In, followForks: true, values: [7]}]", "0 killed", []string{shell, child, grandchild}},
		{"namespace_pid", "matchPIDs: [{operator: In, followForks: true, isNamespacePID: true, values: [7]}]", perhaps, []string{shell, child, grandchild}},
		{"circle", "matchBinaries: [{operator: In, followChildren: true, values: [/bin/nc]}]", perhaps, []string{`{"process_exec":{"process":{` + at("child", "grandchild", "/a", 1) + `}}}`, grandchild}},
		{"several", "matchBinaries: [{operator: In, followChildren: true, values: [/bin/sh]}], matchPIDs: [{operator: NotIn, followForks: true, values: [8]}]", "", []string{shell, child, grandchild}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := New(Options{Policies: []*compile.Policy{compiled(t, "p", open+"{"+tt.filters+", "+killIt+"}"+closed)}})
			got := ""
			for _, e := range tt.events {
				outcomes, _ := s.Event(event(t, e))
				got = words(outcomes)
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// Before the point of no return a process is still another program.
func TestLineageOfExec(t *testing.T) {
	t.Parallel()
	s := New(Options{Policies: []*compile.Policy{compiled(t, "p", `  lsmhooks: [{hook: bprm_check_security, selectors: [{matchBinaries: [{operator: In, followChildren: true, values: [/bin/nc]}], matchActions: [{action: Sigkill}]}]}]`)}})
	outcomes, _ := s.Event(event(t, `{"process_exec":{"process":{"exec_id":"a","binary":"/bin/nc"},"parent":{"exec_id":"b"}}}`))
	if got := words(outcomes); got != "0 killed ? what the process descends from" {
		t.Error(got)
	}
}

func TestParentsAndChanges(t *testing.T) {
	t.Parallel()
	exec := func(process, parent string) string {
		return `{"process_tracepoint":{"process":{` + process + `},"parent":{` + parent + `},"subsys":"syscalls","event":"sys_enter_openat","policy_name":"p","args":[` + readSecret + `]}}`
	}
	const inContainer = `"docker":"c","pod":{"container":{"name":"web"}}`
	web := "matchWorkloads: {containerSelector: {matchLabels: {name: web}}}"
	for _, tt := range []struct{ name, filters, process, parent, want string }{
		{"parent", "matchParentBinaries: [{operator: In, values: [/bin/sh]}]", `"pid":1`, `"binary":"/bin/sh"`, "0 killed"},
		{"parent_by_prefix", "matchParentBinaries: [{operator: NotPrefix, values: [/bin/]}]", `"pid":1`, `"binary":"/bin/sh"`, ""},
		{"no_parent", "matchParentBinaries: [{operator: In, values: [/bin/sh]}]", `"pid":1`, ``, "0 killed ? the process' parent's binary"},
		{"namespace_changes", "matchNamespaceChanges: [{operator: In, values: [Net]}]", `"pid":1`, ``, "0 killed ? the process' changes of namespaces"},
		{"capability_changes", "matchCapabilityChanges: [{type: Effective, operator: In, values: [CAP_KILL]}]", `"pid":1`, ``, "0 killed ? the process' changes of Effective capabilities"},
		{"workload", web, inContainer, ``, "0 killed"},
		{"workload_of_others", web, `"docker":"c","pod":{"container":{"name":"db"}}`, ``, ""},
		{"workload_unknown", web, `"docker":"c"`, ``, "0 killed ? the container's label or annotation name"},
		{"workload_on_host", web, `"pid":1`, ``, ""},
		{"host_workload", "matchWorkloads: {hostSelector: {}}", `"pid":1`, ``, "0 killed"},
		{"host_workload_in_container", "matchWorkloads: {hostSelector: {}}", inContainer, ``, ""},
		{"pod_workload", "matchWorkloads: {podSelector: {}}", inContainer, ``, ""},
		{"pod_workload_in_pod", "matchWorkloads: {podSelector: {matchLabels: {a: b}}}", `"docker":"c","pod":{"name":"n","pod_labels":{"a":"b"}}`, ``, "0 killed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := New(Options{Policies: []*compile.Policy{compiled(t, "p", open+"{"+tt.filters+", "+killIt+"}"+closed)}})
			outcomes, _ := s.Event(event(t, exec(tt.process, tt.parent)))
			if got := words(outcomes); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestRemote(t *testing.T) {
	t.Parallel()
	const url = "http://collector.example/hit"
	for options, want := range map[string]string{
		"": "the agent gets " + url + " and killed",
		"  options: [{name: policy-mode, value: monitor}]\n": "mode monitor; in mode enforce the agent gets " + url + " and killed",
	} {
		s := New(Options{Policies: []*compile.Policy{compiled(t, "p", options+open+"{matchActions: [{action: GetUrl, argUrl: \""+url+"\"}, {action: Sigkill}]}"+closed)}})
		outcomes, _ := s.Event(event(t, opened(`"pid":1`, readSecret)))
		if len(outcomes) != 1 || outcomes[0].Detail != want {
			t.Errorf("%+v, want %s", outcomes, want)
		}
	}
}
