// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Glob is a pattern over a whole value: `*` stands for any run of characters,
// slashes too, `?` for one, everything else for itself. An empty value (the
// image of a Docker container is not known, say) is matched by the empty pattern
// only, so that a rule for "any image" never takes an unknown one.
type Glob string

// validate refuses what looks like a pattern of another language, which would
// else match only its own text.
func (g Glob) validate() error {
	if i := strings.IndexAny(string(g), `[]{}\`); i >= 0 {
		return fmt.Errorf("pattern %q: %q has no meaning here, only * and ? do", string(g), g[i])
	}
	return nil
}

// Match tells whether the pattern matches the whole of value. Its time is at
// most the product of both lengths.
func (g Glob) Match(value string) bool {
	if value == "" || g == "" {
		return value == string(g)
	}
	pattern := string(g)
	p, v := 0, 0
	star, mark := -1, 0 // last star, and where in value its run ends
	for v < len(value) {
		_, size := utf8.DecodeRuneInString(value[v:])
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, v
			p++
		case p < len(pattern) && pattern[p] == '?':
			p++
			v += size
		case p < len(pattern) && pattern[p] == value[v]:
			p++
			v++
		case star >= 0:
			// Let the last star take one character more.
			_, size := utf8.DecodeRuneInString(value[mark:])
			mark += size
			p, v = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
