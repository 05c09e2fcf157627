// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/hook/bundle"
)

func ours() Hook {
	return Hook{Path: "/usr/local/bin/boltseal-hook", Args: []string{"boltseal-hook", "createRuntime"}, Timeout: 4}
}

// entry is ours as it is written.
const entry = `{"path":"/usr/local/bin/boltseal-hook","args":["boltseal-hook","createRuntime"],"timeout":4}`

func TestAddHook(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{}`:                                     `{"hooks":{"createRuntime":[E]}}`,
		" {\n} \n":                               " {\n\"hooks\":{\"createRuntime\":[E]}} \n",
		`{"a":1e400, "b":[]}`:                    `{"hooks":{"createRuntime":[E]},"a":1e400, "b":[]}`,
		`{"hooks":null,"a":1}`:                   `{"hooks":{"createRuntime":[E]},"a":1}`,
		`{"a":1,"hooks": { } }`:                  `{"a":1,"hooks": { "createRuntime":[E]} }`,
		`{"hooks":{"prestart":[{"path":"/x"}]}}`: `{"hooks":{"createRuntime":[E],"prestart":[{"path":"/x"}]}}`,
		`{"hooks":{"createRuntime":null}}`:       `{"hooks":{"createRuntime":[E]}}`,
		`{"hooks":{"createRuntime":[ ]}}`:        `{"hooks":{"createRuntime":[ E]}}`,
		`{"hooks":{"createRuntime":[{"path":"/x","new":[1]} ]}}`: `{"hooks":{"createRuntime":[{"path":"/x","new":[1]} ,E]}}`,
		// Names in strings, below, and with escapes.
		`{"x":{"hooks":[]},"y":"\"hooks\":{","\u0068ooks":{}}`: `{"x":{"hooks":[]},"y":"\"hooks\":{","\u0068ooks":{"createRuntime":[E]}}`,
		// Numbers that no float holds, twice the same name elsewhere, text that is no UTF-8.
		`{"n":123456789012345678901234567890.10,"n":-0,"s":"` + "\xff" + `"}`: `{"hooks":{"createRuntime":[E]},"n":123456789012345678901234567890.10,"n":-0,"s":"` + "\xff" + `"}`,
		// Not ours: other arguments, another path, another stage.
		`{"hooks":{"createRuntime":[{"path":"/usr/local/bin/boltseal-hook","args":["boltseal-hook","createRuntime","--fail-policy","allow"]}]}}`: `{"hooks":{"createRuntime":[{"path":"/usr/local/bin/boltseal-hook","args":["boltseal-hook","createRuntime","--fail-policy","allow"]},E]}}`,
		`{"hooks":{"createRuntime":[{"path":"/tmp/boltseal-hook","args":["boltseal-hook","createRuntime"]}]}}`:                                   `{"hooks":{"createRuntime":[{"path":"/tmp/boltseal-hook","args":["boltseal-hook","createRuntime"]},E]}}`,
		`{"hooks":{"poststop":[E]}}`: `{"hooks":{"createRuntime":[E],"poststop":[E]}}`,
	} {
		config, want = strings.ReplaceAll(config, "E", entry), strings.ReplaceAll(want, "E", entry)
		got, added, err := AddHook([]byte(config), ours())
		if err != nil || !added || string(got) != want {
			t.Errorf("%s\ngot  %s, %t, %v\nwant %s", config, got, added, err, want)
			continue
		}
		again, added, err := AddHook(got, ours())
		if err != nil || added || !bytes.Equal(again, got) {
			t.Errorf("%s, again: %s, %t, %v", config, again, added, err)
		}
	}
}

func TestAddHookRefuses(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		``: "unexpected end", `[]`: "not an object", `null`: "not an object", `{"a":}`: "invalid character", `{} {}`: "after top-level",
		`{"hooks":[]}`: "hooks: not an object", `{"hooks":"x"}`: "hooks: not an object",
		`{"hooks":{"createRuntime":{}}}`:                    "hooks.createRuntime: json: cannot unmarshal",
		`{"hooks":{"createRuntime":[7]}}`:                   "hooks.createRuntime: json: cannot unmarshal",
		`{"hooks":{},"hooks":{}}`:                           "hooks is there twice",
		`{"hooks":{},"\u0068ooks":{}}`:                      "hooks is there twice",
		`{"Hooks":{}}`:                                      `"Hooks" is not spelled "hooks"`,
		`{"hook\u017f":{}}`:                                 `is not spelled "hooks"`,
		`{"hooks":{"CreateRuntime":[]}}`:                    `hooks: "CreateRuntime" is not spelled "createRuntime"`,
		`{"hooks":{"createRuntime":[],"createRuntime":[]}}`: "hooks: createRuntime is there twice",
		strings.Repeat(" ", bundle.MaxConfig) + "{}":        "larger than",
	} {
		got, added, err := AddHook([]byte(config), ours())
		if err == nil || !errors.Is(err, bundle.ErrConfig) || !strings.Contains(err.Error(), want) || added || got != nil {
			t.Errorf("%.100s: %.100s, %t, %v; want %q", config, got, added, err, want)
		}
	}
}

// decoded is a document with its numbers as they are written.
func decoded(raw []byte) (out map[string]any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	return out, decoder.Decode(&out)
}

// FuzzAddHook: whatever passes has the hook last, once, and all else that it had, number
// for number; once more changes nothing.
func FuzzAddHook(f *testing.F) {
	for _, config := range []string{
		`{}`, `{"hooks":null}`, `{"a":[1e999,{"hooks":{}}],"hooks":{"prestart":[]}}`, `{"hooks":{"createRuntime":[{"path":"/x"}],"x":1}}`,
		`{"hooks":{"createRuntime":[` + entry + `]}}`, "{\"\\ud800\":\"\xff\"}", `{"Hooks":1}`, `{"n":-0.10e+5,"t":true,"f":false,"z":null}`,
	} {
		f.Add([]byte(config))
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		got, added, err := AddHook(config, ours())
		if err != nil {
			return
		}
		if !added {
			if !bytes.Equal(got, config) {
				t.Fatalf("nothing was added to %q, but it became %q", config, got)
			}
			return
		}
		before, err := decoded(config)
		if err != nil {
			t.Fatalf("%q passed: %v", config, err)
		}
		after, err := decoded(got)
		if err != nil {
			t.Fatalf("%q became %q: %v", config, got, err)
		}
		hooks := after["hooks"].(map[string]any)
		list := hooks["createRuntime"].([]any)
		var want any
		if err := json.Unmarshal([]byte(entry), &want); err != nil {
			t.Fatal(err)
		}
		last := list[len(list)-1].(map[string]any)
		last["timeout"] = float64(4)
		if !reflect.DeepEqual(last, want) {
			t.Errorf("the last hook of %q is %v", got, last)
		}
		// Taken out again, nothing differs.
		if hooks["createRuntime"] = list[:len(list)-1]; len(list) == 1 {
			old, _ := before["hooks"].(map[string]any)
			if was, ok := old["createRuntime"]; ok {
				hooks["createRuntime"] = was
			} else {
				delete(hooks, "createRuntime")
			}
		}
		if was, ok := before["hooks"]; len(hooks) == 0 && !ok {
			delete(after, "hooks")
		} else if len(hooks) == 0 && was == nil {
			after["hooks"] = nil
		}
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%q became %q", config, got)
		}
		if again, added, err := AddHook(got, ours()); added || err != nil || !bytes.Equal(again, got) {
			t.Errorf("%q, once more: %q, %v", got, again, err)
		}
	})
}
