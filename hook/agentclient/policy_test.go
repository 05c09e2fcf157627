// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	rule := func(m Match, a Answer) FailPolicy { return FailPolicy{Rules: []Rule{{m, a}}} }
	name := Match{Name: []Glob{"x"}}
	for _, c := range []struct {
		policy FailPolicy
		want   string // part of the error, empty for none
	}{
		{FailPolicy{}, ""},
		{FailPolicy{Default: Allow, NotSinceBoot: Quarantine, Rules: []Rule{{name, Block}}}, ""},
		{FailPolicy{Default: "Allow"}, `default: "Allow" is none of`},
		{FailPolicy{NotSinceBoot: "yes"}, "not_since_boot"},
		{rule(name, ""), "rules[0]: policy"},
		{rule(name, "open"), "rules[0]: policy"},
		{rule(Match{}, Allow), "rules[0]: match: empty"},
		{rule(Match{Image: []Glob{"a", "b[0-9]"}}, Allow), "rules[0]: match.image[1]"},
		{rule(Match{Namespace: []Glob{`a\*`}}, Allow), "match.namespace[0]"},
		{rule(Match{Name: []Glob{"{a,b}"}}, Allow), "match.name[0]"},
		{rule(Match{Labels: map[string]Glob{"": "x"}}, Allow), "match.labels: empty key"},
		{rule(Match{Annotations: map[string]Glob{"k": "[x"}}, Allow), `match.annotations["k"]`},
	} {
		err := c.policy.Validate()
		if c.want == "" {
			if err != nil {
				t.Errorf("%+v: %v", c.policy, err)
			}
			continue
		}
		if !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one about %q", c.policy, err, c.want)
		}
	}
}

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		glob  Glob
		value string
		want  bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "ab", false}, {"a", "ba", false},
		{"", "", true}, {"*", "", false}, {"", "a", false}, {"?", "", false},
		{"*", "a/b/c", true}, {"a*", "a", true}, {"a*c", "abbc", true}, {"a*c", "abcd", false},
		{"acme-*", "acme-x", true}, {"acme-*", "not-acme-foo", false},
		{"*a*b*", "xaxbx", true}, {"*a*b*", "xbxax", false}, {"**", "x", true},
		{"?", "ü", true}, {"?", "üü", false}, {"*ü?", "aaüb", true}, {"*?", "\xff", true},
	} {
		if got := c.glob.Match(c.value); got != c.want {
			t.Errorf("%q matches %q: %v, want %v", c.glob, c.value, got, c.want)
		}
	}
}

// FuzzGlob compares the matcher with a regular expression.
func FuzzGlob(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("*a*a*a*", "aaaa")
	f.Add("?*", "ü")
	f.Fuzz(func(t *testing.T, pattern, value string) {
		// Regular expressions replace what is no UTF-8, and know lines.
		if !utf8.ValidString(pattern) || !utf8.ValidString(value) || value == "" || pattern == "" {
			return
		}
		quoted := regexp.QuoteMeta(pattern)
		quoted = strings.ReplaceAll(strings.ReplaceAll(quoted, `\*`, `.*`), `\?`, `.`)
		want := regexp.MustCompile(`(?s)\A` + quoted + `\z`).MatchString(value)
		if got := Glob(pattern).Match(value); got != want {
			t.Errorf("%q matches %q: %v, want %v", pattern, value, got, want)
		}
	})
}

func TestGlobIsNotExponential(t *testing.T) {
	t.Parallel()
	start := time.Now()
	if Glob(strings.Repeat("*a", 200) + "b").Match(strings.Repeat("a", 20_000)) {
		t.Error("matched")
	}
	if spent := time.Since(start); spent > 5*time.Second {
		t.Errorf("took %s", spent)
	}
}
