// SPDX-License-Identifier: Apache-2.0

package quote

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestWord(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                "-",
		"-":               `"-"`,
		"web":             "web",
		"größe/名":         "größe/名",
		"two words":       `"two words"`,
		`q"uote`:          `"q\"uote"`,
		"esc\x1b[2J":      `"esc\x1b[2J"`,
		"c1\u009b2J":      `"c1\u009b2J"`,
		"rtl\u202eexe":    `"rtl\u202eexe"`,
		"bad\xff":         `"bad\xff"`,
		"nl\nx":           `"nl\nx"`,
		"nbsp\u00a0":      `"nbsp\u00a0"`,
		"zero\u200bwidth": `"zero\u200bwidth"`,
	} {
		if got := Word(in); got != want {
			t.Errorf("Word(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	if got, want := String("/etc/\x1bshadow", 0), `"/etc/\x1bshadow"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	// The cut falls into a character of two bytes.
	if got, want := String("abä"+strings.Repeat("x", 9), 3), `"ab"...(13 bytes)`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	if got, want := Text("line 3: \x1b]0;t\a\nline \"4\":\tok\r"), "line 3: \\x1b]0;t\\a\nline \"4\":\\tok\\r"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	if got, want := JSON("{\n \"a\": \"\u009b\u202e\U000e0001\u00e4\"}"), "{\n \"a\": \"\\u009b\\u202e\\udb40\\udc01\u00e4\"}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzPrintable: whatever goes in, nothing comes out that a terminal acts on.
func FuzzPrintable(f *testing.F) {
	for _, s := range []string{"", "plain", "\x1b[31m", "\u202e", "\xc3", "a\nb", "\u2028", "\ufffd"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, max int) {
		for name, out := range map[string]string{"Word": Word(s), "String": String(s, max), "Text": strings.ReplaceAll(Text(s), "\n", "")} {
			if !utf8.ValidString(out) || strings.ContainsFunc(out, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%s(%q) = %q", name, s, out)
			}
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var want, got string
		if err := errors.Join(json.Unmarshal(text, &want), json.Unmarshal([]byte(JSON(string(text))), &got)); err != nil || got != want {
			t.Errorf("JSON(%s) is %q, want %q, error %v", text, got, want, err)
		}
		if strings.ContainsFunc(JSON(string(text)), bare) {
			t.Errorf("JSON(%s) does not print", text)
		}
		if back, err := strconv.Unquote(String(s, 0)); err != nil || back != s {
			t.Errorf("String(%q) does not lead back: %q, %v", s, back, err)
		}
	})
}
