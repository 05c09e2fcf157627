// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/boltseal/boltseal/agent/internal/filter/subject"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func exec(p *tetragon.Process) *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{NodeName: "n", Event: &tetragon.GetEventsResponse_ProcessExec{
		ProcessExec: &tetragon.ProcessExec{Process: p},
	}}
}

func compiled(t testing.TB, list ...*tetragon.RedactionFilter) *Redactions {
	t.Helper()
	r, err := Compile(list)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func groups(texts ...string) *tetragon.RedactionFilter {
	return &tetragon.RedactionFilter{Redact: texts}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, arguments, want string
		list                  []*tetragon.RedactionFilter
	}{
		{"one group", "--password=x -v", "--password=***** -v", []*tetragon.RedactionFilter{groups(`--password=(\S+)`)}},
		{"every match", "-p a -p b", "-p ***** -p *****", []*tetragon.RedactionFilter{groups(`-p (\S+)`)}},
		{"no match", "-p", "-p", []*tetragon.RedactionFilter{groups(`-p (\S+)`)}},
		{"empty group", "-p=", "-p=", []*tetragon.RedactionFilter{groups(`-p=(\S*)`)}},
		{"all of it", "secret", "*****", []*tetragon.RedactionFilter{groups(`(?s)^(.*)$`)}},
		{"group that is not for hiding", "--token abc", "--token *****", []*tetragon.RedactionFilter{groups(`--(?:token|password) (\S+)`)}},
		{"one of two groups takes part", "user:me pass:you", "user:***** pass:*****", []*tetragon.RedactionFilter{groups(`user:(\w+)|pass:(\w+)`)}},
		{"groups side by side", "ab", "**********", []*tetragon.RedactionFilter{groups(`(a)(b)`)}},
		{"group in a group", "key=abcdef!", "key=*****!", []*tetragon.RedactionFilter{groups(`key=((\w)(\w+))`)}},
		{"repeated group hides its last", "x=1,2,3", "x=1,2,*****", []*tetragon.RedactionFilter{groups(`x=(?:(\d),?)+`)}},
		{"overlap of two expressions", "abcdef", "a*****f", []*tetragon.RedactionFilter{groups(`a(bcd)`, `c(de)`)}},
		{"overlap of two redactions", "abcdef", "*****f", []*tetragon.RedactionFilter{groups(`(abcd)`), groups(`(cde)`)}},
		{"one within another", "abcdef", "*****", []*tetragon.RedactionFilter{groups(`c(d)e`), groups(`(\w+)`)}},
		{"none depends on another", "a=b c", "***** *****", []*tetragon.RedactionFilter{groups(`(a=b)`), groups(`a=b (\w)`)}},
		{"mark is not looked at", "abc", "*****", []*tetragon.RedactionFilter{groups(`(abc)`), groups(`(\*)`)}},
		{"more bytes than letters", "пароль=тайна ключ", "пароль=***** ключ", []*tetragon.RedactionFilter{groups(`пароль=(\S+)`)}},
		{"a letter of more bytes", "a√b", "a*****b", []*tetragon.RedactionFilter{groups(`a(.)b`)}},
		{"bytes that are no letters", "a\xff\xfeb", "a*****\xfeb", []*tetragon.RedactionFilter{groups(`a(.)`)}},
		{"own binary", "secret", "*****", []*tetragon.RedactionFilter{{Redact: []string{"(secret)"}, BinaryRegex: []string{"^x$", "^/bin/me$"}}}},
		{"another binary", "secret", "secret", []*tetragon.RedactionFilter{{Redact: []string{"(secret)"}, BinaryRegex: []string{"^/bin/m$"}}}},
		{"match", "secret", "*****", []*tetragon.RedactionFilter{{Redact: []string{"(secret)"}, Match: []*tetragon.Filter{{Pid: []uint32{1}}, {BinaryRegex: []string{"me$"}}}}}},
		{"no match of events", "secret", "secret", []*tetragon.RedactionFilter{{Redact: []string{"(secret)"}, Match: []*tetragon.Filter{{BinaryRegex: []string{"you$"}}}}}},
	} {
		e := exec(&tetragon.Process{Binary: "/bin/me", Arguments: c.arguments})
		got := compiled(t, c.list...).Apply(e)
		if got.GetProcessExec().GetProcess().GetArguments() != c.want {
			t.Errorf("%s: %q, want %q", c.name, got.GetProcessExec().GetProcess().GetArguments(), c.want)
		}
		if (got == e) != (c.arguments == c.want) {
			t.Errorf("%s: is the same event: %v", c.name, got == e)
		}
		if e.GetProcessExec().GetProcess().GetArguments() != c.arguments {
			t.Errorf("%s: the shared event was changed", c.name)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		expression string
		key, value string
		wantKey    string
		wantValue  string
	}{
		{"by key", `^\w*PASSWORD=(.*)`, "DB_PASSWORD", "x=y", "DB_PASSWORD", "*****"},
		{"another key", `^PASSWORD=(.*)`, "DB_PASSWORD", "x", "DB_PASSWORD", "x"},
		{"by value", `^(ghp_\w+)$`, "T", "ghp_abc", "T", "*****"},
		{"part of a value", `//\w+:(\w+)@`, "URL", "https://me:pass@host", "URL", "https://me:*****@host"},
		{"key", `^(\w+)=`, "SECRET", "v", "*****", "v"},
		{"both", `^(.*)$`, "SECRET", "v", "*****", "*****"},
		{"across the sign", `E(T=v)`, "SECRET", "value", "SECRE*****", "*****alue"},
		{"the sign alone", `(=)`, "A", "b", "A", "b"},
		{"empty value", `^A=(.*)`, "A", "", "A", ""},
		{"sign in the value", `=(=)`, "A", "=b", "A", "*****b"},
	} {
		e := exec(&tetragon.Process{Binary: "/b", EnvironmentVariables: []*tetragon.EnvVar{{Key: "other", Value: "-"}, {Key: c.key, Value: c.value}}})
		before := proto.Clone(e)
		got := compiled(t, groups(c.expression)).Apply(e).GetProcessExec().GetProcess().GetEnvironmentVariables()[1]
		if got.GetKey() != c.wantKey || got.GetValue() != c.wantValue {
			t.Errorf("%s: %s=%s, want %s=%s", c.name, got.GetKey(), got.GetValue(), c.wantKey, c.wantValue)
		}
		if !proto.Equal(before, e) {
			t.Errorf("%s: the shared event was changed: %v", c.name, e)
		}
	}
}

// TestEveryTypeOfEvent puts the secret into all processes of all types of the API.
func TestEveryTypeOfEvent(t *testing.T) {
	t.Parallel()
	process := func(name string) *tetragon.Process {
		return &tetragon.Process{
			Binary: name, Arguments: "-p secret", Cwd: "/",
			EnvironmentVariables: []*tetragon.EnvVar{{Key: "P", Value: "secret"}, {Key: "Q", Value: "q"}},
		}
	}
	r := compiled(t, groups("(secret)"))
	parentOnly := compiled(t, &tetragon.RedactionFilter{Redact: []string{"(secret)"}, BinaryRegex: []string{"^parent$"}})
	for _, f := range subject.Fields() {
		fields := f.Message().Fields()
		e := &tetragon.GetEventsResponse{NodeName: "n"}
		m := e.ProtoReflect().Mutable(f).Message()
		if fields.ByName("process") == nil {
			if r.Apply(e) != e {
				t.Errorf("%s was copied", f.Name())
			}
			continue
		}
		m.Set(fields.ByName("process"), protoreflect.ValueOf(process("self").ProtoReflect()))
		m.Set(fields.ByName("parent"), protoreflect.ValueOf(process("parent").ProtoReflect()))
		for _, name := range []string{"grand", "great"} {
			m.Mutable(fields.ByName("ancestors")).List().Append(protoreflect.ValueOf(process(name).ProtoReflect()))
		}
		before := proto.Clone(e)
		text := r.Apply(e).String()
		if strings.Contains(text, "secret") || strings.Count(text, Mark) != 8 || strings.Count(text, `Key:"Q"`) != 4 {
			t.Errorf("%s: %s", f.Name(), text)
		}
		got := parentOnly.Apply(e)
		if strings.Count(got.String(), Mark) != 2 || subject.Parent(got).GetArguments() != "-p *****" || subject.Process(got) != subject.Process(e) {
			t.Errorf("%s: by the parent's binary: %v", f.Name(), got)
		}
		if diff := cmp.Diff(before, proto.Message(e), protocmp.Transform()); diff != "" {
			t.Errorf("%s: the shared event was changed:\n%s", f.Name(), diff)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	newer := groups("(a)")
	newer.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 1))
	r, err := Compile([]*tetragon.RedactionFilter{
		groups("(a)"), groups("(", "a", "(?:b)", "(c)"), {}, {Redact: []string{"(a)"}, BinaryRegex: []string{"x", "["}},
		{Redact: []string{"(a)"}, Match: []*tetragon.Filter{{PodRegex: []string{"*"}}}}, newer,
	})
	if r != nil || !errors.Is(err, ErrInvalid) {
		t.Fatalf("%v, error %v", r, err)
	}
	got := strings.Split(err.Error(), "\n")
	for i, want := range []string{
		"[1].redact[0]: error parsing regexp", "[1].redact[1]: has no group", "[1].redact[2]: has no group",
		"[2].redact: there is no expression", "[3].binary_regex[1]: error parsing regexp", "[4].match: invalid filter: allow_list[0].pod_regex[0]",
		"[5].field 9: not known",
	} {
		if i >= len(got) || !strings.Contains(got[i], want) {
			t.Fatalf("fault %d of %q is not %q", i, got, want)
		}
	}
}

func TestNothingToDo(t *testing.T) {
	t.Parallel()
	none := compiled(t)
	e := exec(&tetragon.Process{Arguments: "secret"})
	if none.Apply(e) != e || compiled(t, groups("(x)")).Apply(nil) != nil {
		t.Error("copied for nothing")
	}
}

func BenchmarkApply(b *testing.B) {
	e := exec(&tetragon.Process{Binary: "/usr/bin/curl", Arguments: "-s --password=abc https://example.org/a/b/c"})
	for name, r := range map[string]*Redactions{
		"none": compiled(b), "no match": compiled(b, groups(`--token=(\S+)`)), "match": compiled(b, groups(`--password=(\S+)`)),
		"another binary": compiled(b, &tetragon.RedactionFilter{Redact: []string{`--password=(\S+)`}, BinaryRegex: []string{"^/usr/bin/wget$"}}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Apply(e)
			}
		})
	}
}

func FuzzRedaction(f *testing.F) {
	f.Add(`--password=(\S+)`, "--password=x", "K", "v")
	f.Add(`(a)|((b)c)`, "abcabc", "a", "bc")
	f.Add(`(.)=(.)`, "√=√", "√", "\xff")
	f.Fuzz(func(t *testing.T, expression, arguments, key, value string) {
		r, err := Compile([]*tetragon.RedactionFilter{groups(expression)})
		if err != nil {
			return
		}
		e := exec(&tetragon.Process{Arguments: arguments, EnvironmentVariables: []*tetragon.EnvVar{{Key: key, Value: value}}})
		p := r.Apply(e).GetProcessExec().GetProcess()
		if e.GetProcessExec().GetProcess().GetArguments() != arguments || e.GetProcessExec().GetProcess().GetEnvironmentVariables()[0].GetValue() != value {
			t.Error("the shared event was changed")
		}
		v := p.GetEnvironmentVariables()[0]
		for was, is := range map[string]string{arguments: p.GetArguments(), key: v.GetKey(), value: v.GetValue()} {
			if utf8.ValidString(was) && !utf8.ValidString(is) {
				t.Errorf("%q of %q is no UTF-8", is, was)
			}
		}
		// The same by the book: the bytes that some group of some match has.
		hidden := make([]bool, len(arguments))
		for _, m := range regexp.MustCompile(expression).FindAllStringSubmatchIndex(arguments, -1) {
			for g := 2; g < len(m); g += 2 {
				for i := max(m[g], 0); i < m[g+1]; i++ {
					hidden[i] = true
				}
			}
		}
		var kept strings.Builder
		for i := range hidden {
			if !hidden[i] {
				kept.WriteByte(arguments[i])
			}
		}
		if strings.Count(arguments, "*") == 0 && strings.ReplaceAll(p.GetArguments(), "*", "") != kept.String() {
			t.Errorf("%q by %q is %q, what stays is %q", arguments, expression, p.GetArguments(), kept.String())
		}
	})
}
