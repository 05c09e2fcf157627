// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

// posting is a policy with one hook of one selector with the actions.
func posting(hook policy.Hook, actions ...policy.Action) *policy.Policy {
	hook.Selectors = []policy.Selector{{Actions: actions}}
	return &policy.Policy{Name: "p", Hooks: []policy.Hook{hook}}
}

func TestPostsAreCompiled(t *testing.T) {
	t.Parallel()
	k := withFunctions("security_a", "lsm/file_open", "lsm/bprm_check_security")
	function := policy.Hook{Section: policy.Kprobes, Calls: []string{"security_a"}}
	rate := policy.Action{Kind: policy.Post, RateLimit: time.Minute, RateScope: policy.RateProcess}
	for _, c := range []struct {
		name    string
		hook    policy.Hook
		actions []policy.Action
		want    compile.Rule
		source  bpf.WireHashSource
	}{
		{"rate", function, []policy.Action{rate}, compile.Rule{Post: true, Rate: compile.Rate{Interval: time.Minute, Scope: policy.RateProcess}}, 0},
		{
			"two", function, []policy.Action{{Kind: policy.Post, KernelStack: true}, rate, {Kind: policy.Post, UserStack: true}},
			compile.Rule{Post: true, KernelStack: true, UserStack: true, Rate: compile.Rate{Interval: time.Minute, Scope: policy.RateProcess}},
			0,
		},
		{
			"hash of a file", policy.Hook{Section: policy.LSMHooks, Calls: []string{"file_open"}},
			[]policy.Action{{Kind: policy.Post, Hash: true}}, compile.Rule{Post: true, FileHash: true}, bpf.WireHashSourceHASH_FILE,
		},
		{
			"hash of a program", policy.Hook{Section: policy.LSMHooks, Calls: []string{"bprm_check_security"}},
			[]policy.Action{{Kind: policy.Post, Hash: true}}, compile.Rule{Post: true, FileHash: true}, bpf.WireHashSourceHASH_BINPRM,
		},
	} {
		p, err := compile.Compile(posting(c.hook, c.actions...), k)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := p.Hooks[0].Rules[0]
		if got.Post != c.want.Post || got.Rate != c.want.Rate || got.KernelStack != c.want.KernelStack ||
			got.UserStack != c.want.UserStack || got.FileHash != c.want.FileHash || got.Enforces() {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		if source := p.Hooks[0].Site.HashSource(); source != c.source {
			t.Errorf("%s: the file is from %d, want %d", c.name, source, c.source)
		}
	}
}

func TestPostsThatCannotBe(t *testing.T) {
	t.Parallel()
	k := withFunctions("security_a", "lsm/file_open")
	k.Cannot[compile.CanHashFile] = errors.New("broken")
	_, err := compile.Compile(posting(policy.Hook{Section: policy.LSMHooks, Calls: []string{"file_open"}}, policy.Action{Kind: policy.Post, Hash: true}), k)
	if err == nil || !strings.Contains(err.Error(), "spec.lsmhooks[0].selectors[0].matchActions[0].imaHash: broken") {
		t.Errorf("a hash that the kernel does not compute: %v", err)
	}
	_, err = compile.Compile(posting(policy.Hook{Section: policy.Kprobes, Calls: []string{"security_a"}},
		policy.Action{Kind: policy.Post, RateLimit: time.Minute}, policy.Action{Kind: policy.Post, RateLimit: time.Hour}), k)
	if err == nil || !strings.Contains(err.Error(), "matchActions[1]: a second one of its kind") {
		t.Errorf("two rates: %v", err)
	}
	// What a kernel cannot do does not matter where nobody asks for it.
	if _, err := compile.Compile(posting(policy.Hook{Section: policy.LSMHooks, Calls: []string{"file_open"}}, policy.Action{Kind: policy.Post}), k); err != nil {
		t.Error(err)
	}
}

// What is taken back is the policy's own, so that it needs a number, also where
// nothing is ever left.
func TestNoticesAreTakenBackByNumber(t *testing.T) {
	t.Parallel()
	p, err := compile.Compile(&policy.Policy{Name: "p", Enforcers: []string{"security_a"}, Hooks: []policy.Hook{{
		Section: policy.Tracepoints, Subsystem: compiletest.Subsystem, Event: compiletest.Event,
		Selectors: []policy.Selector{{Actions: []policy.Action{{Kind: policy.CleanupEnforcerNotification}}}},
	}}}, withFunctions("security_a"))
	if err != nil {
		t.Fatal(err)
	}
	if r := p.WithNotice(7).Hooks[0].Rules[0]; len(p.Hooks) != 1 || !p.Notices() || !r.Unnotifies || r.Notice != 7 || r.Enforces() {
		t.Errorf("%+v, with notices: %v", r, p.Notices())
	}
}
