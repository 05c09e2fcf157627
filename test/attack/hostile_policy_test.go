// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// text is a policy that is none, and how it is refused.
type text struct {
	name, yaml string
	code       codes.Code
	words      []string
}

// bombs are small texts that ask for much, and large ones that hold nothing.
func bombs() []text {
	const limit = 10 << 20
	laughs := "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := range 20 {
		laughs += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 9))
	}
	of := func(name, yaml string, words ...string) text { return text{name, yaml, codes.InvalidArgument, words} }
	return []text{
		of("laughs", laughs+"spec: *a20\n", "invalid policy"),
		of("itself", "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: x}\nspec: &a {tracepoints: [*a, *a]}\n", "spec"),
		of("brackets", strings.Repeat("[", limit-1), "invalid policy"),
		of("nested", strings.Repeat("{a: ", 100_000), "invalid policy"),
		of("items", "["+strings.Repeat("a,", limit/2-1)+"]", "nodes"),
		of("10 MiB of one word", "spec: "+strings.Repeat("x", limit-7), "invalid policy"),
		of("one byte too long", strings.Repeat("#", limit+1), "10485761 bytes"),
		{"too long for a message", strings.Repeat("#", 13<<20), codes.ResourceExhausted, []string{"larger than max"}},
		of("zeros", strings.Repeat("\x00", 1<<20), "invalid policy"),
		of("a program", "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x02\x00\x3e\x00", "invalid policy"),
		of("two documents", "a: b\n---\nc: d\n", "invalid policy"),
		of("nothing", "", "invalid policy"),
	}
}

// impossible are policies that name what is not there, or more than there is room for.
func (r *rig) impossible() []text {
	point := func(event, args, selectors string) string {
		return agentenv.PolicyText(r.policy, r.mark, agentenv.Tracepoint{Event: event, Args: args, Selectors: selectors})
	}
	of := func(name, yaml string, words ...string) text {
		return text{name, yaml, codes.InvalidArgument, append(words, "spec.tracepoints[0]")}
	}
	const open, path, kill = "sys_enter_openat", "[{index: 6, type: string}]", "matchActions: [{action: Sigkill}]"
	values := strings.Repeat("/x, ", 100_000) + "/x"
	selector := "{matchArgs: [{args: [0], operator: Postfix, values: [%s]}], " + kill + "}"
	var many []agentenv.Tracepoint
	for i := range 513 {
		many = append(many, agentenv.Tracepoint{Event: open, Args: path, Selectors: "[" + fmt.Sprintf(selector, fmt.Sprintf("/file-%d", i)) + "]"})
	}
	half := agentenv.PolicyText(r.policy, r.mark,
		agentenv.Tracepoint{Event: open, Args: path, Selectors: "[" + fmt.Sprintf(selector, "/x") + "]"},
		agentenv.Tracepoint{Event: "sys_enter_nope"})
	return []text{
		of("a system call that is none", point("sys_enter_nope", "", ""), "event", "sys_enter_nope"),
		of("a subsystem that is none", point("nope/nope", "", ""), "nope/nope"),
		of("a path upwards as event", point("syscalls/../sched/sched_switch", "", ""), "event"),
		of("a path upwards as subsystem", point("../events/syscalls/"+open, "", "")),
		of("a path to the host as event", point("syscalls/../../../../../etc/passwd", "", ""), "event"),
		of("an event with NUL", point(`"`+open+`\0"`, "", "")),
		of("an event with newline", point(`"`+open+`\nx"`, "", "")),
		of("an index that is out of range", point(open, "[{index: 99, type: string}]", ""), "args[0].index"),
		of("an index below zero", point(open, "[{index: -1, type: string}]", ""), "args[0].index"),
		of("an index of 2^32", point(open, "[{index: 4294967296, type: string}]", ""), "args[0].index"),
		of("a filter on no argument", point(open, path, "[{matchArgs: [{args: [7], operator: Equal, values: [x]}]}]"), "matchArgs[0].args"),
		of("100,001 values", point(open, path, "[{matchArgs: [{args: [0], operator: Equal, values: ["+values+"]}]}]"), "values", "100000"),
		of("a value of 5,000 bytes", point(open, path, "["+fmt.Sprintf(selector, strings.Repeat("x", 5000))+"]"), "values[0]"),
		{"513 rules at a site", agentenv.PolicyText(r.policy, r.mark, many...), codes.ResourceExhausted, []string{"512", open}},
		{"a good hook and a bad one", half, codes.InvalidArgument, []string{"spec.tracepoints[1]", "sys_enter_nope"}},
		{"a path as name", strings.Replace(half, "name: "+r.policy, "name: ../../etc/cron.d/x", 1), codes.InvalidArgument, []string{"metadata.name"}},
	}
}

// TestHostilePolicies: a policy that cannot be loaded whole is refused with the
// place of the fault, changes nothing, and takes no time that matters. The one
// whose name it has stays in force meanwhile.
func TestHostilePolicies(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	r := newSecluded(t)
	r.agent.Policy(t, agentenv.KillShadow(r.policy, r.mark))
	guarded := r.load(t, r.mark)
	before, elements := r.state(t), objectsOf(t, r.agent.Pid).elements(t)
	texts := append(bombs(), r.impossible()...)
	for _, p := range texts {
		t.Run(p.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			refused(t, r.agent.Add(ctx, p.yaml), p.code, p.words...)
			r.unchanged(t, before)
			if now := objectsOf(t, r.agent.Pid).elements(t); fmt.Sprint(now) != fmt.Sprint(elements) {
				t.Errorf("elements in the maps of policies: %v, were %v", now, elements)
			}
		})
	}
	refused(t, raw(t.Context(), r.agent.Connect(t), methodAdd, []byte("\x0a\x04a: \xff")), codes.Internal)
	refused(t, raw(t.Context(), r.agent.Connect(t), methodAdd, []byte("\x0a\xff\xff\xff\xff\x0f")), codes.Internal)
	r.unchanged(t, before)
	if result := r.runc.Delete(t.Context(), guarded); result.Code != 0 {
		t.Error(result)
	}
	acts := actsOf(guarded)
	for _, one := range acts {
		if one.result != "killed:SIGKILL" {
			t.Errorf("an act under the policy that was to be replaced: %s", one.result)
		}
	}
	if len(acts) == 0 {
		t.Error("no act under the policy that was to be replaced")
	}
	r.works(t)
	testenv.Report(t, "%d hostile policies refused, nothing of them loaded; %d acts meanwhile, all killed", len(texts)+2, len(acts))
}
