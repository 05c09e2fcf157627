// SPDX-License-Identifier: Apache-2.0

package tomledit_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/install/tomledit"
)

func TestSetKeepsEveryOtherByte(t *testing.T) {
	tests := map[string]struct {
		doc   string
		value any
		path  []string
		want  string
	}{
		"nothing":             {"", false, []string{"plugins", "io.x.v1.nri", "disable"}, "[plugins.\"io.x.v1.nri\"]\ndisable = false\n"},
		"a table of its own":  {"version = 2 # two", "/b", []string{"a", "b"}, "version = 2 # two\n\n[a]\nb = \"/b\"\n"},
		"in its table":        {"[a] # here\n    # why\n    x = 1\n[c]\n", "/b", []string{"a", "b"}, "[a] # here\n    b = \"/b\"\n    # why\n    x = 1\n[c]\n"},
		"table without a key": {"  [a]\n  [a.b]\n", true, []string{"a", "k"}, "  [a]\n  k = true\n  [a.b]\n"},
		"header at the end":   {"[a]", true, []string{"a", "k"}, "[a]\nk = true\n"},
		"replaces":            {"[a]\nb = 'x' # keep\n", "y", []string{"a", "b"}, "[a]\nb = \"y\" # keep\n"},
		"replaces many lines": {"a.b = \"\"\"\nx\n\"\"\"\nc = 1\n", "y", []string{"a", "b"}, "a.b = \"y\"\nc = 1\n"},
		"beside dotted keys":  {"[p]\n  o.x = [\n 1]\n", "y", []string{"p", "o", "b"}, "[p]\n  o.b = \"y\"\n  o.x = [\n 1]\n"},
		"the same":            {"[a]\nb='x'\n", "x", []string{"a", "b"}, "[a]\nb='x'\n"},
		"windows":             {"[a]\r\nx = 1\r\n", true, []string{"c", "b"}, "[a]\r\nx = 1\r\n\r\n[c]\r\nb = true\r\n"},
		"odd characters":      {"", "q\"\\\x01", []string{"a b"}, "\"a b\" = \"q\\\"\\\\\\u0001\"\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tomledit.Set([]byte(test.doc), test.value, test.path...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatCannotBeChangedAloneIsRefused(t *testing.T) {
	for name, doc := range map[string]string{
		"inline table": "a = {x = 1}\n", "array of tables": "[[a]]\nx = 1\n", "no table": "a = 1\n",
		"inline below": "[q]\na = 1\n[a]\nb = {c = 1}\n[[a.d]]\n",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := tomledit.Set([]byte(doc), "y", "a", "b", "e"); err == nil {
				t.Errorf("%q became %q", doc, got)
			}
		})
	}
	_, err := tomledit.Set([]byte("a = 1\nb = \n"), "y", "c")
	var fault *tomledit.SyntaxError
	if !errors.As(err, &fault) || fault.Line != 2 {
		t.Errorf("a fault on line 2: %v", err)
	}
}

func TestDelete(t *testing.T) {
	for doc, want := range map[string]string{
		"x = 1\n\n[a]\nb = 1\n":          "x = 1\n",
		"[a]\nb = 1\nc = 2\n":            "[a]\nc = 2\n",
		"[a]\n# mine\nb = 1\n":           "[a]\n# mine\n",
		"[a]\nb = 1\n\n[a.c]\nd = 1\n":   "\n[a.c]\nd = 1\n",
		"[a]\nb = [\n1,\n2]\n[c]\nd=1\n": "[c]\nd=1\n",
	} {
		got, err := tomledit.Delete([]byte(doc), true, "a", "b")
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v, want %q", doc, got, err, want)
		}
	}
}

func FuzzSet(f *testing.F) {
	for _, doc := range []string{
		"version = 2\n[plugins]\n  [plugins.\"io.x\".y]\n    a = 'b'\n", "a.b.c = 1\n[a.d]\n", "[[a]]\n[a.b]\nx = {y = 1}\n", "a = \"\"\"\n=\"\"\"",
	} {
		f.Add([]byte(doc), "a", "b")
	}
	f.Fuzz(func(t *testing.T, doc []byte, outer, inner string) {
		// Set proves itself what it changes; this proves that it can be taken back.
		set, err := tomledit.Set(doc, "value", outer, inner)
		if err != nil {
			return
		}
		tree, err := tomledit.Parse(set)
		if err != nil {
			t.Fatalf("%q became %q: %v", doc, set, err)
		}
		if got, _ := tomledit.Get(tree, outer, inner); got != "value" {
			t.Fatalf("%q: %v", set, got)
		}
		if _, err := tomledit.Delete(set, true, outer, inner); err != nil {
			t.Fatalf("%q became %q: %v", doc, set, err)
		}
	})
}
