// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/stage"
	"github.com/boltseal/boltseal/agent/internal/attach/described"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

const whole = `name: n
policy: ../p.yaml
container:
  annotations: {a.b/c: "1"}
  labels: {d: e}
  name: web
  image: r/web:1
  pod: {name: x, namespace: y}
  capabilities: [CAP_KILL]
files:
  /etc/a: "text\n"
  /etc/b: ""
cases:
- name: one
  command: [cat, /etc/a]
  expect: denied
  errno: EACCES
  events: 2
- {name: two, command: [/bin/true], expect: allowed, exit: 1}
`

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := Parse([]byte(whole))
	want := &Scenario{
		Name: "n", Policy: "../p.yaml",
		Container: Container{
			Annotations: map[string]string{"a.b/c": "1"}, Labels: map[string]string{"d": "e"}, Name: "web", Image: "r/web:1",
			PodName: "x", PodNamespace: "y", Capabilities: []string{"CAP_KILL"},
		},
		Files: map[string]string{"/etc/a": "text\n", "/etc/b": ""},
		Cases: []Case{
			{Name: "one", Command: []string{"cat", "/etc/a"}, Expect: Denied, Errno: unix.EACCES, Events: 2},
			{Name: "two", Command: []string{"/bin/true"}, Expect: Allowed, Exit: 1, Events: -1},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v\nerror %v", got, want, err)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	const bare = "name: n\npolicy: p\ncases: [{name: c, command: [a], expect: allowed}]\n"
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", []string{"not YAML: EOF"}},
		{"a: [", []string{"not YAML: "}},
		{bare + "---\n{}\n", []string{"has a second document"}},
		{"[]", []string{"line 1: must be a mapping"}},
		{"{}", []string{"line 1: name is required", "line 1: policy is required", "line 1: cases is required"}},
		{bare + "case: 1\n", []string{"line 4: case: unknown key"}},
		{bare + "name: m\n", []string{"line 4: name: is given twice"}},
		{bare + "container: {pod: {name: x}}\n", []string{"line 4: container.pod: namespace is required"}},
		{bare + "container: {capabilities: [KILL]}\n", []string{`line 4: container.capabilities[0]: "KILL" is no CAP_ name`}},
		{bare + "container: {labels: {a: 1}}\n", []string{`line 4: container.labels["a"]: must be text: put it in quotes`}},
		{bare + "files: {a: b}\n", []string{`line 4: files: "a" is no absolute path of a file`}},
		{"name: n\npolicy: p\ncases: []\n", []string{"line 3: cases: has no case"}},
		{
			"name: n\npolicy: p\ncases:\n- {name: 1, command: [], expect: maybe, errno: EPERM, events: -1}\n- {name: c, command: x, expect: denied, errno: EWHAT, exit: 3}\n",
			[]string{
				"line 4: cases[0].name: must be text", "line 4: cases[0].command: names no program", `line 4: cases[0].expect: is "maybe", not killed, denied or allowed`,
				"line 4: cases[0].events: must be a number from 0 to 10000", "line 4: cases[0].errno: is for what is denied",
				"line 5: cases[1].command: must be a list", "line 5: cases[1].command: names no program", `line 5: cases[1].errno: "EWHAT" is no name of an error: write EPERM`,
				"line 5: cases[1].exit: cannot be told from a denial: the command has to end with 0 when it is allowed",
			},
		},
		{"name: &a n\npolicy: *a\ncases: [{name: c, command: [a], expect: allowed}]\n", []string{"line 2: policy: must be text"}},
		{strings.Repeat("#", MaxTextBytes+1), []string{"is longer than 1048576 bytes"}},
	} {
		_, err := Parse([]byte(tt.text))
		if err == nil {
			t.Errorf("%.60q: no fault", tt.text)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(tt.want) || !slices.EqualFunc(lines, tt.want, strings.HasPrefix) {
			t.Errorf("%.60q:\ngot  %q\nwant %q", tt.text, lines, tt.want)
		}
	}
}

// FuzzParse: whatever the text is, it is a scenario within its limits, or refused.
func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("name: n\n<<: {policy: p}\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if (s == nil) == (err == nil) {
			t.Fatalf("%+v, %v", s, err)
		}
		if err != nil {
			return
		}
		if s.Name == "" || s.Policy == "" || len(s.Cases) == 0 || len(s.Cases) > maxCases || len(s.Files) > maxFiles {
			t.Fatalf("%+v", s)
		}
		for _, c := range s.Cases {
			if c.Name == "" || len(c.Command) == 0 || c.Command[0] == "" {
				t.Fatalf("%+v", c)
			}
		}
	})
}

const library = "../../../../../policies"

// Every policy of the library has a scenario of its name, and every scenario is
// for one; some case of it is not allowed, or the policy only reports.
func TestLibrary(t *testing.T) {
	t.Parallel()
	policies, err := filepath.Glob(filepath.Join(library, "*.yaml"))
	if err != nil || len(policies) == 0 {
		t.Fatalf("%q, %v", policies, err)
	}
	scenarios, err := filepath.Glob(filepath.Join(library, "scenarios", "*.yaml"))
	if err != nil || len(scenarios) != len(policies) {
		t.Errorf("%d scenarios for %d policies, error %v", len(scenarios), len(policies), err)
	}
	k, err := described.Named("6.12")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range policies {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		text, err := os.ReadFile(filepath.Join(library, "scenarios", name+".yaml"))
		if err != nil {
			t.Error(err)
			continue
		}
		s, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		policyText, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, err := policy.Parse(policyText)
		if err != nil {
			t.Fatal(err)
		}
		test, err := NewTest(s, p)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if refused := test.On(k).Refused; refused != nil {
			t.Errorf("%s: %v", name, refused)
		}
		acts := slices.ContainsFunc(s.Cases, func(c Case) bool { return c.Expect != Allowed })
		if s.Name != name || s.Policy != "../"+name+".yaml" || acts != p.Enforces() {
			t.Errorf("%s: scenario %s of %s, which acts: %v", name, s.Name, s.Policy, acts)
		}
	}
}

// A policy that would act outside of the scenario's containers is not run.
func TestPoliciesForOthersAreRefused(t *testing.T) {
	t.Parallel()
	for selector, refused := range map[string]bool{
		"": true, "  hostSelector: {}\n": true, "  containerSelector: {}\n": true,
		"  containerSelector: {matchLabels: {a: b}}\n": false, "  containerSelector: {matchLabels: {a: b}}\n  hostSelector: {}\n": true,
		"  podSelector: {}\n": false,
	} {
		p, err := policy.Parse([]byte("apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n" + selector + "  tracepoints: [{subsystem: sched, event: sched_process_exec}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewTest(&Scenario{}, p); (err != nil) != refused {
			t.Errorf("%q: %v", selector, err)
		}
	}
}

// Each way of coming out otherwise is seen.
func TestJudge(t *testing.T) {
	t.Parallel()
	const killed, ended, failed, by137 = unix.WaitStatus(unix.SIGKILL), unix.WaitStatus(0), unix.WaitStatus(1 << 8), unix.WaitStatus(137 << 8)
	kill := Case{Expect: Killed, Events: -1}
	deny := Case{Expect: Denied, Errno: unix.EPERM, Events: -1}
	allow := Case{Expect: Allowed, Events: -1}
	for _, tt := range []struct {
		name string
		of   Case
		s    seen
		fine bool
	}{
		{"killed", kill, seen{status: killed, events: 1, kills: 1}, true},
		{"killed_below_a_shell", kill, seen{status: by137, events: 1, kills: 1}, true},
		{"killed_by_another", kill, seen{status: killed}, false},
		{"killed_unreported_as_wanted", Case{Expect: Killed}, seen{status: killed}, true},
		{"not_killed", kill, seen{status: ended, events: 1, kills: 1}, false},
		{"another_signal", kill, seen{status: unix.WaitStatus(unix.SIGTERM), events: 1, kills: 1}, false},
		{"too_many_events", Case{Expect: Killed, Events: 1}, seen{status: killed, events: 2, kills: 2}, false},
		{"denied", deny, seen{status: failed, output: "cat: x: Operation not permitted", events: 1, denials: 1}, true},
		{"denied_otherwise", deny, seen{status: failed, output: "cat: x: No such file", events: 1, denials: 1}, false},
		{"denied_by_another", deny, seen{status: failed, output: "Operation not permitted"}, false},
		{"denied_and_done", deny, seen{status: ended, output: "Operation not permitted", events: 1, denials: 1}, false},
		{"denied_and_killed", deny, seen{status: killed, output: "Operation not permitted", events: 1, denials: 1}, false},
		{"allowed", allow, seen{status: ended, events: 3}, true},
		{"allowed_and_failed", allow, seen{status: failed}, false},
		{"allowed_with_its_status", Case{Expect: Allowed, Exit: 1, Events: -1}, seen{status: failed}, true},
		{"allowed_and_acted_on", allow, seen{status: ended, events: 1, denials: 1}, false},
	} {
		if reason := tt.of.judge(tt.s); (reason == "") != tt.fine {
			t.Errorf("%s: %q", tt.name, reason)
		}
	}
	for _, tt := range []struct {
		s    seen
		fine bool
	}{{seen{status: ended}, true}, {seen{status: failed}, false}, {seen{status: killed}, false}, {seen{status: ended, events: 1}, false}} {
		if reason := kill.control(tt.s); (reason == "") != tt.fine {
			t.Errorf("control of %+v: %q", tt.s, reason)
		}
	}
}

// Only what the policy itself has made counts.
func TestSeenOf(t *testing.T) {
	t.Parallel()
	of := func(policy string, did tetragon.KprobeAction) *tetragon.GetEventsResponse {
		return &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessLsm{ProcessLsm: &tetragon.ProcessLsm{PolicyName: policy, Action: did}}}
	}
	o := &stage.Outcome{Events: []*tetragon.GetEventsResponse{
		of("p", tetragon.KprobeAction_KPROBE_ACTION_POST), of("p", tetragon.KprobeAction_KPROBE_ACTION_SIGKILL), of("p", tetragon.KprobeAction_KPROBE_ACTION_OVERRIDE),
		of("q", tetragon.KprobeAction_KPROBE_ACTION_SIGKILL), {Event: &tetragon.GetEventsResponse_ProcessExit{}},
	}}
	if s := seenOf(o, "p"); s.events != 3 || s.kills != 1 || s.denials != 1 {
		t.Errorf("%+v", s)
	}
}
