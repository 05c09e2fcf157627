// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
	"time"
)

// lsmAction is a policy whose one hook is a security hook with one action.
func lsmAction(hook, action string) string {
	return wrap("  lsmhooks:\n  - hook: " + hook + "\n    selectors: [{matchActions: [{" + action + "}]}]\n")
}

func TestPostArguments(t *testing.T) {
	t.Parallel()
	post := func(s string) string { return action("{action: Post, " + s + "}") }
	for _, c := range []struct {
		text string
		want Action
	}{
		{post("rateLimit: 7"), Action{Kind: Post, RateLimit: 7 * time.Second}},
		{post("rateLimit: '7s'"), Action{Kind: Post, RateLimit: 7 * time.Second}},
		{post("rateLimit: 5m, rateLimitScope: process"), Action{Kind: Post, RateLimit: 5 * time.Minute, RateScope: RateProcess}},
		{post("rateLimit: 1H, rateLimitScope: Global"), Action{Kind: Post, RateLimit: time.Hour, RateScope: RateGlobal}},
		{post("rateLimit: '4294967295', rateLimitScope: thread"), Action{Kind: Post, RateLimit: 4294967295 * time.Second}},
		{post("rateLimit: '0'"), Action{Kind: Post}},
		{post("rateLimit: '', rateLimitScope: ''"), Action{Kind: Post}},
		{kprobeWith("    selectors: [{matchActions: [{action: Post, kernelStackTrace: true, userStackTrace: yes}]}]\n"), Action{Kind: Post, KernelStack: true, UserStack: true}},
		{post("imaHash: false, argFd: 0, argName: '', argRegs: []"), Action{Kind: Post}},
		{lsmAction("file_open", "action: Post, imaHash: true, kernelStackTrace: false"), Action{Kind: Post, Hash: true}},
	} {
		p, err := Parse([]byte(c.text))
		if err != nil {
			t.Errorf("%s\n%v", c.text, err)
			continue
		}
		checkInvariants(t, p)
		if got := p.Hooks[0].Selectors[0].Actions[0]; got != c.want {
			t.Errorf("%s\n%+v, want %+v", c.text, got, c.want)
		}
	}
	for _, hook := range hashHooks() {
		if _, err := Parse([]byte(lsmAction(hook, "action: Post, imaHash: true"))); err != nil {
			t.Errorf("%s: %v", hook, err)
		}
	}
}

func TestPostArgumentFaults(t *testing.T) {
	t.Parallel()
	a := func(s string) string { return action("{" + s + "}") }
	const lsmPath = "spec.lsmhooks[0].selectors[0].matchActions[0]"
	cases := []faultCase{
		{name: "rate is a word", text: a("action: Post, rateLimit: often"), path: actionPath + ".rateLimit", line: 16, reason: `"often" is no time`},
		{name: "rate is negative", text: a("action: Post, rateLimit: -1"), path: actionPath + ".rateLimit", line: 16, reason: "is no time"},
		{name: "rate has a fraction", text: a("action: Post, rateLimit: 1.5s"), path: actionPath + ".rateLimit", line: 16, reason: "is no time"},
		{name: "rate has a unit alone", text: a("action: Post, rateLimit: m"), path: actionPath + ".rateLimit", line: 16, reason: "is no time"},
		{name: "rate has two units", text: a("action: Post, rateLimit: 1ms"), path: actionPath + ".rateLimit", line: 16, reason: "is no time"},
		{name: "rate in days", text: a("action: Post, rateLimit: 1d"), path: actionPath + ".rateLimit", line: 16, reason: "is no time"},
		{name: "rate is long", text: a("action: Post, rateLimit: 4294967295m"), path: actionPath + ".rateLimit", line: 16, reason: "longer than 4294967295 seconds"},
		{name: "rate overflows", text: a("action: Post, rateLimit: 4294967296"), path: actionPath + ".rateLimit", line: 16, reason: "is no time"},
		{name: "rate is a list", text: a("action: Post, rateLimit: [1]"), path: actionPath + ".rateLimit", line: 16, reason: "needs text"},
		{name: "rate of a kill", text: a("action: Sigkill, rateLimit: 1"), path: actionPath + ".rateLimit", line: 16, reason: "Sigkill makes no event; Post takes it"},
		{name: "rate of no event", text: a("action: NoPost, rateLimit: 1"), path: actionPath + ".rateLimit", line: 16, reason: "NoPost makes no event"},
		{name: "scope", text: a("action: Post, rateLimit: 1, rateLimitScope: host"), path: actionPath + ".rateLimitScope", line: 16, reason: `"host" is none of thread, process and global`},
		{name: "scope alone", text: a("action: Post, rateLimitScope: global"), path: actionPath + ".rateLimitScope", line: 16, reason: "no rateLimit"},
		{name: "stack of a kill", text: a("action: Sigkill, kernelStackTrace: true"), path: actionPath + ".kernelStackTrace", line: 16, reason: "Sigkill makes no event"},
		{name: "stack of a signal", text: a("action: Signal, argSig: 10, userStackTrace: true"), path: actionPath + ".userStackTrace", line: 16, reason: "Signal makes no event"},
		{name: "stack is a number", text: a("action: Post, userStackTrace: 1"), path: actionPath + ".userStackTrace", line: 16, reason: "true or false"},
		{name: "hash at a tracepoint", text: a("action: Post, imaHash: true"), path: actionPath + ".imaHash", line: 16, reason: "bprm_check_security"},
		{name: "hash at another security hook", text: lsmAction("inode_unlink", "action: Post, imaHash: true"), path: lsmPath + ".imaHash", line: 8, reason: "mmap_file"},
		{name: "hash of a denial", text: lsmAction("file_open", "action: Override, argError: -1, imaHash: true"), path: lsmPath + ".imaHash", line: 8, reason: "Override makes no event"},
		{name: "cleanup without enforcers", text: a("action: CleanupEnforcerNotification"), path: actionPath + ".action", line: 16, reason: "needs spec.enforcers"},
		{name: "cleanup at a security hook", text: lsmAction("file_open", "action: CleanupEnforcerNotification"), path: lsmPath + ".action", line: 8, reason: "is for tracepoints and kprobes"},
		{name: "cleanup with a signal", text: a("action: CleanupEnforcerNotification, argSig: 9"), path: actionPath + ".action", line: 16, reason: "needs spec.enforcers"},
		{name: "Set", text: a("action: Set"), path: actionPath + ".action", line: 16, reason: "is for usdts"},
	}
	for key, c := range map[string]struct{ value, reason string }{
		"argFd": {"1", "was withdrawn"}, "argName": {"1", "was withdrawn"},
		"argIndex": {"1", "is for usdts"}, "argValue": {"1", "is for usdts"},
		"argRegs": {"[rax=1]", "is for uprobes"}, "argNewSymbol": {"f", "is for uprobes"},
		"argNewAddr": {"1", "is for uprobes"}, "argNewOffset": {"1", "is for uprobes"},
	} {
		cases = append(cases, faultCase{
			name: key, text: a("action: Post, " + key + ": " + c.value), path: actionPath + "." + key, line: 16, reason: c.reason,
		})
	}
	for _, gone := range []string{"followfd", "UnfollowFD", "CopyFD"} {
		cases = append(cases, faultCase{
			name: gone, text: a("action: " + gone), path: actionPath + ".action", line: 16, reason: "was withdrawn",
		})
	}
	for _, c := range cases {
		t.Run(c.name, c.run)
	}
}

// Where the API's message has no field for a stack the policy is taken, with a warning.
func TestStacksWithoutFields(t *testing.T) {
	t.Parallel()
	for path, text := range map[string]string{
		actionPath + ".kernelStackTrace":                               action("{action: Post, kernelStackTrace: true, userStackTrace: false}"),
		actionPath + ".userStackTrace":                                 action("{action: Post, userStackTrace: true}"),
		"spec.lsmhooks[0].selectors[0].matchActions[0].userStackTrace": lsmAction("file_open", "action: Post, userStackTrace: true"),
	} {
		p, err := Parse([]byte(text))
		if err != nil {
			t.Errorf("%s\n%v", text, err)
			continue
		}
		if len(p.Warnings) != 1 || p.Warnings[0].Path != path || !strings.Contains(p.Warnings[0].Reason, "has no field for a stack") {
			t.Errorf("%s\nwarnings %v", text, p.Warnings)
		}
		if a := p.Hooks[0].Selectors[0].Actions[0]; a != (Action{Kind: Post}) {
			t.Errorf("%s\n%+v", text, a)
		}
	}
}

func TestCleanup(t *testing.T) {
	t.Parallel()
	text := "  enforcers: [{calls: [sys_chroot]}]\n" + strings.TrimPrefix(action("{action: cleanupenforcernotification}"), wrap(""))
	p, err := Parse([]byte(wrap(text)))
	if err != nil {
		t.Fatal(err)
	}
	checkInvariants(t, p)
	if got := p.Hooks[0].Selectors[0]; got.Actions[0].Kind != CleanupEnforcerNotification || got.Enforces() || !got.Posts() {
		t.Errorf("%+v", got)
	}
}
