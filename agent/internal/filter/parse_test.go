// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func TestParseFilters(t *testing.T) {
	t.Parallel()
	got, err := ParseFilters(` {"namespace": [""], "event_set": ["PROCESS_EXEC", 5]}
	{"healthCheck": false}{}

{
  "binary_regex": ["}{"]
}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []*tetragon.Filter{
		{Namespace: []string{""}, EventSet: []tetragon.EventType{1, 5}}, {HealthCheck: wrapperspb.Bool(false)}, {}, {BinaryRegex: []string{"}{"}},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("filters (-want +got):\n%s", diff)
	}
	for _, text := range []string{"", " \n\n"} {
		if got, err := ParseFilters(text); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestParseRedactions(t *testing.T) {
	t.Parallel()
	got, err := ParseRedactions(`{"redact": ["-p (\\S+)"], "binary_regex": ["curl"]}` + "\n" + `{"match": [{"pid": [1]}], "redact": ["(a)"]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []*tetragon.RedactionFilter{
		{Redact: []string{`-p (\S+)`}, BinaryRegex: []string{"curl"}}, {Match: []*tetragon.Filter{{Pid: []uint32{1}}}, Redact: []string{"(a)"}},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("redactions (-want +got):\n%s", diff)
	}
}

func TestParseFieldFilters(t *testing.T) {
	t.Parallel()
	got, err := ParseFieldFilters(`{"event_set": ["PROCESS_EXEC"], "fields": "process.exec_id, process.parentExecId", "invert_event_set": true}
{"action": "EXCLUDE", "fields": "process.environment_variables.Key"}
{"fields": null}{"fields": ""}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []*tetragon.FieldFilter{
		{
			EventSet: []tetragon.EventType{1}, InvertEventSet: wrapperspb.Bool(true),
			Fields: &fieldmaskpb.FieldMask{Paths: []string{"process.exec_id", "process.parentExecId"}},
		},
		{Action: tetragon.FieldFilterAction_EXCLUDE, Fields: &fieldmaskpb.FieldMask{Paths: []string{"process.environment_variables.Key"}}},
		{}, {},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("field filters (-want +got):\n%s", diff)
	}
}

func TestParseFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want []string
	}{
		{"{}\n\n{\"pids\": [1]}\n {\"pid\": [-1]}", []string{`line 3: unknown field "pids"`, `line 4: invalid value for uint32 field pid: -1`}},
		{"{}\n{", []string{"line 2: unexpected EOF"}},
		{"{}\nx{}", []string{"line 2: invalid character 'x'"}},
		{"[]", []string{"line 1: syntax error"}},
		{"{}\n{\n\n\"pid\": 1}\n\"a\"", []string{"line 2: syntax error", "line 5: syntax error"}},
		{`{"event_set": ["NONE"]}`, []string{"line 1: invalid value for enum field eventSet: \"NONE\""}},
		{`{"pid": [1], "pid": [2]}`, []string{`line 1: duplicate field "pid"`}},
		{strings.Repeat(" ", MaxText+1), []string{"is 1048577 bytes long"}},
	} {
		got, err := ParseFilters(c.text)
		if got != nil || err == nil {
			t.Errorf("%.50q: %v, error %v", c.text, got, err)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		for i, want := range c.want {
			if len(lines) != len(c.want) || !strings.HasPrefix(lines[i], want) {
				t.Errorf("%.50q: %q, want %q", c.text, lines, c.want)
				break
			}
		}
	}
	for text, want := range map[string]string{
		`{"fields": ["a"]}`:               "line 1: fields: is no text of paths",
		`{"fields": "a", "fields": "b"}`:  `line 1: duplicate field "fields"`,
		`{"a": 1, "fields": "b"}`:         `line 1: unknown field "a"`,
		`{"action": 1, "action": 0}`:      `line 1: duplicate field "action"`,
		"\n[1]":                           "line 2: syntax error",
		`{"action":"BOTH","fields":"a"}{`: `line 1: invalid value for enum field action: "BOTH"`,
	} {
		if got, err := ParseFieldFilters(text); got != nil || err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, error %v", text, got, err)
		}
	}
	if got, err := ParseRedactions(`{"redacts": []}`); got != nil || err == nil || err.Error() != `line 1: unknown field "redacts"` {
		t.Errorf("%v, error %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{
		`{"namespace": [""]}` + "\n" + `{"event_set": ["PROCESS_EXEC"]}`, `{"redact": ["(a)"], "match": [{"pid": [1]}]}`,
		`{"fields": "process.exec_id,parent", "action": "EXCLUDE", "event_set": [1], "invert_event_set": true}`,
		`{"cel_expression": ["process_exec.process.pid == 7u"], "labels": ["app in (a, b)"], "capabilities": {"permitted": {"any": ["CAP_KILL"]}}}`,
	} {
		f.Add(text)
	}
	event := whole()
	f.Fuzz(func(t *testing.T, text string) {
		if list, err := ParseFilters(text); err == nil {
			if c, err := Compile(list, list); err == nil {
				c.Passes(event)
			}
			// What was read and is written again reads the same.
			var again strings.Builder
			for _, one := range list {
				again.WriteString(protojson.Format(one) + "\n")
			}
			second, err := ParseFilters(again.String())
			if diff := cmp.Diff(list, second, protocmp.Transform()); again.Len() <= MaxText && (err != nil || len(list) > 0 && diff != "") {
				t.Errorf("%v\n%s", err, diff)
			}
		}
		_, _ = ParseRedactions(text)
		if list, err := ParseFieldFilters(text); err == nil {
			if r, err := (Compiler{}).CompileRequest(&tetragon.GetEventsRequest{FieldFilters: list}); err == nil {
				r.Fields(event)
			}
		}
	})
}
