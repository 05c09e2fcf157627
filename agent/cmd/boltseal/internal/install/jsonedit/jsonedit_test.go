// SPDX-License-Identifier: Apache-2.0

package jsonedit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/install/jsonedit"
)

func TestSetKeepsEveryOtherByte(t *testing.T) {
	tests := map[string]struct {
		doc, value string
		path       []string
		want       string
	}{
		"nothing": {"", `"b"`, []string{"default-runtime"}, "{\n  \"default-runtime\": \"b\"\n}\n"},
		"empty object": {"{}", `{"path":"/b"}`, []string{"runtimes", "b"},
			"{\n  \"runtimes\": {\n    \"b\": {\n      \"path\": \"/b\"\n    }\n  }\n}"},
		"four columns": {"{\n    \"n\": 1e400\n}\n", `true`, []string{"k"}, "{\n    \"n\": 1e400,\n    \"k\": true\n}\n"},
		"tabs and objects": {"{\n\t\"a\": {\n\t\t\"x\": 1\n\t}\n}", `{"p":1}`, []string{"a", "b"},
			"{\n\t\"a\": {\n\t\t\"x\": 1,\n\t\t\"b\": {\n\t\t\t\"p\": 1\n\t\t}\n\t}\n}"},
		"one line":              {`{"a":1}`, `{"p": 1}`, []string{"b"}, `{"a":1, "b": {"p":1}}`},
		"windows":               {"{\r\n  \"a\": 1\r\n}\r\n", `2`, []string{"b"}, "{\r\n  \"a\": 1,\r\n  \"b\": 2\r\n}\r\n"},
		"replaces":              {"{ \"a\" : [1, {\"]\": \"\\\"}\"}] , \"b\" :2}", `3`, []string{"a"}, "{ \"a\" : 3 , \"b\" :2}"},
		"a key that is escaped": {`{"\u0061":1}`, `2`, []string{"a"}, `{"\u0061":2}`},
		"object on one line within many": {"{\n  \"runtimes\": {\"x\": {\"path\": \"/x\"}}\n}", `{"path":"/b"}`, []string{"runtimes", "b"},
			"{\n  \"runtimes\": {\"x\": {\"path\": \"/x\"}, \"b\": {\"path\":\"/b\"}}\n}"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := jsonedit.Set([]byte(test.doc), json.RawMessage(test.value), test.path...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDelete(t *testing.T) {
	for doc, want := range map[string]string{
		"{\"a\": 1}":                            "{}",
		"{\n  \"a\": 1,\n  \"b\": 2\n}":         "{\n  \"b\": 2\n}",
		"{\n  \"b\": 2,\n  \"a\": {\"c\":1}\n}": "{\n  \"b\": 2\n}",
		"{\"b\":2,\"a\":1,\"c\":3}":             "{\"b\":2,\"c\":3}",
		"{\"b\":2}":                             "{\"b\":2}",
		"  ":                                    "  ",
	} {
		got, err := jsonedit.Delete([]byte(doc), "a")
		if err != nil || string(got) != want {
			t.Errorf("%q without a: %q, %v, want %q", doc, got, err, want)
		}
	}
}

func TestFaultsNameTheLine(t *testing.T) {
	for doc, want := range map[string]int{"{\n\"a\": 1,\n}": 3, "{\n\n\"a\" 1}": 3, "\n[1]": 2, "{} x": 1, "{\"a\": \"": 1} {
		_, err := jsonedit.Set([]byte(doc), json.RawMessage("1"), "b")
		var fault *jsonedit.SyntaxError
		if !errors.As(err, &fault) || fault.Line != want {
			t.Errorf("%q: %v, want line %d", doc, err, want)
		}
	}
	for _, doc := range []string{`{"a":1,"a":2}`, `{"a":{"b":1,"b":2}}`, `{"a":[]}`} {
		if got, err := jsonedit.Set([]byte(doc), json.RawMessage("1"), "a", "b"); err == nil {
			t.Errorf("%s was changed to %s", doc, got)
		}
	}
}

func FuzzSet(f *testing.F) {
	f.Add([]byte("{\n  \"a\": {\"x\": [1, \"}\"]},\r\n \"b\":null}"), "a", "k")
	f.Add([]byte("{}"), "", "\"")
	f.Add([]byte(" "), "a", "a")
	f.Fuzz(func(t *testing.T, doc []byte, outer, inner string) {
		value := json.RawMessage(`{"path":"/b"}`)
		got, err := jsonedit.Set(doc, value, outer, inner)
		if err != nil {
			return
		}
		if !json.Valid(got) {
			t.Fatalf("%q became %q", doc, got)
		}
		// Keys of bytes that are no UTF-8 are written as what JSON makes of them.
		if key, _ := json.Marshal([]string{outer, inner}); !bytes.Contains(key, []byte(`\ufffd`)) {
			back, found, err := jsonedit.Get(got, outer, inner)
			if err != nil || !found || !jsonedit.Equal(back, value) {
				t.Fatalf("%q: %q, %v, %v", got, back, found, err)
			}
			if _, had, _ := jsonedit.Get(doc, outer, inner); !had {
				without(t, doc, got, outer, inner)
			}
		}
	})
}

// without takes away what was set, and looks that nothing else has changed.
func without(t *testing.T, doc, set []byte, outer, inner string) {
	t.Helper()
	back, err := jsonedit.Delete(set, outer, inner)
	if _, had, _ := jsonedit.Get(doc, outer); !had && err == nil {
		back, err = jsonedit.Delete(back, outer)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(tree(doc), tree(back)) {
		t.Fatalf("%q became %q and then %q", doc, set, back)
	}
}

func tree(doc []byte) map[string]any {
	decoder := json.NewDecoder(bytes.NewReader(doc))
	decoder.UseNumber()
	value := map[string]any{}
	_ = decoder.Decode(&value)
	return value
}
