// SPDX-License-Identifier: Apache-2.0

// Package quote makes text that others chose safe to show on a terminal: no
// control character, escape sequence or change of writing direction passes.
package quote

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// String is s in double quotes, with escapes as in Go, cut after max bytes of
// text with a mark behind it that says how long it was; max <= 0: never cut.
func String(s string, max int) string {
	if max <= 0 || len(s) <= max {
		return strconv.Quote(s)
	}
	cut := max
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.Quote(s[:cut]) + "...(" + strconv.Itoa(len(s)) + " bytes)"
}

// Word is s as one word of a line: as it is when it is plain, quoted when it has
// white space, quotes or anything that does not print, "-" when it is empty.
func Word(s string) string {
	switch {
	case s == "":
		return "-"
	case s == "-" || strings.ContainsFunc(s, odd) || !utf8.ValidString(s):
		return strconv.Quote(s)
	}
	return s
}

func odd(r rune) bool {
	return r == '"' || r == '\\' || unicode.IsSpace(r) || !unicode.IsPrint(r)
}

// Text is s with its lines kept and everything else that does not print escaped:
// for messages, which may hold what somebody else wrote.
func Text(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\n' || unicode.IsPrint(r) && (r != utf8.RuneError || size > 1):
			b.WriteString(s[i : i+size])
		default:
			quoted := strconv.Quote(s[i : i+size])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
	}
	return b.String()
}

// JSON is a valid JSON text in which everything that does not print, but for
// newlines, is escaped: encoders leave much of it as it is. It means the same.
func JSON(text string) string {
	if !strings.ContainsFunc(text, bare) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !bare(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func bare(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
