// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

// enforced is a policy with an action for the enforcers that are named.
func enforced(a policy.Action, enforcers ...string) *policy.Policy {
	a.Kind = policy.NotifyEnforcer
	return &policy.Policy{Name: "p", Enforcers: enforcers, Hooks: []policy.Hook{{
		Section: policy.Tracepoints, Subsystem: compiletest.Subsystem, Event: compiletest.Event,
		Selectors: []policy.Selector{{Actions: []policy.Action{a}}},
	}}}
}

func withFunctions(names ...string) compiletest.Kernel {
	k := compiletest.Kernel{Cannot: map[compile.Mechanism]error{}, Prototypes: map[string]compile.Prototype{}}
	for _, name := range names {
		k.Prototypes[name] = compile.Prototype{Known: true}
	}
	return k
}

func TestEnforcersAreHooks(t *testing.T) {
	t.Parallel()
	k := withFunctions("security_a", "__x64_sys_b", "__arm64_sys_b")
	for _, c := range []struct {
		name   string
		action policy.Action
		kind   compile.SiteKind
	}{
		{"denies", policy.Action{Error: -1}, compile.ModifyReturn},
		{"denies and kills", policy.Action{Error: -1, Signal: 9}, compile.ModifyReturn},
		{"signals", policy.Action{Signal: 10}, compile.Kprobe},
	} {
		p, err := compile.Compile(enforced(c.action, "security_a", "sys_b"), k)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(p.Hooks) != 3 || !p.Notices() {
			t.Errorf("%s: %d hooks, with enforcers: %v", c.name, len(p.Hooks), p.Notices())
			continue
		}
		if r := p.Hooks[0].Rules[0]; !r.Notifies || r.NoticeError != c.action.Error || r.NoticeSignal != c.action.Signal || !r.Enforces() {
			t.Errorf("%s: the rule is %+v", c.name, r)
		}
		for i, h := range p.WithNotice(5).Hooks[1:] {
			r := h.Rules[0]
			if h.Site.Kind != c.kind || h.Section != policy.Enforcers || h.Index != i || !r.Noticed || r.Post || r.Notice != 5 {
				t.Errorf("%s: enforcer %d is %+v", c.name, i, h)
			}
			for pending, matches := range map[uint64]bool{0: false, 1 << 5: true, 1<<5 | 1: true, ^uint64(1 << 5): false} {
				if r.Matches(&h, []compile.Value{{Number: pending}}, true) != matches {
					t.Errorf("%s: with notices %#x the enforcer acts: %v", c.name, pending, !matches)
				}
			}
		}
		if f := p.Hooks[1].Rules[0].Filters[0]; f.Kind != bpf.WireMatchKindMATCH_MASK || f.Mask != 1 {
			t.Errorf("%s: numbering a copy changed the policy: %+v", c.name, f)
		}
	}
}

func TestEnforcersThatCannotBe(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		cannot []compile.Mechanism
		action policy.Action
		call   string
		says   []string
	}{
		"no such function": {nil, policy.Action{Error: -1}, "security_b", []string{"spec.enforcers[0].calls", "security_b", "not in this kernel"}},
		"no fmod_ret":      {[]compile.Mechanism{compile.CanModifyReturn}, policy.Action{Error: -1}, "security_a", []string{"security_a", "broken"}},
		"no override": {
			[]compile.Mechanism{compile.CanModifySyscall, compile.CanOverride},
			policy.Action{Error: -1},
			"sys_b",
			[]string{"sys_b", "broken", "security hook"},
		},
		"no kprobe": {[]compile.Mechanism{compile.CanKprobe}, policy.Action{Signal: 9}, "sys_b", []string{"broken"}},
		"no signal": {[]compile.Mechanism{compile.CanSignal}, policy.Action{Signal: 9}, "sys_b", []string{"broken"}},
	} {
		k := withFunctions("security_a", "__x64_sys_b", "__arm64_sys_b")
		for _, m := range c.cannot {
			k.Cannot[m] = broken
		}
		_, err := compile.Compile(enforced(c.action, "security_a", c.call), k)
		if err == nil {
			t.Errorf("%s: compiled", name)
			continue
		}
		for _, text := range c.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %q does not say %q", name, err, text)
			}
		}
	}
}
