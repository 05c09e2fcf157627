// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"fmt"
	"regexp"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// regexes matches one text of a process with any of a field's expressions.
func regexes(
	values func(*tetragon.Filter) []string,
	who func(test func(*tetragon.Process) bool) predicate,
	text func(*tetragon.Process) string,
) compiler {
	return func(f *tetragon.Filter) (predicate, []error) {
		all, errs := compileAll(values(f))
		return who(func(p *tetragon.Process) bool { return all.match(text(p)) }), errs
	}
}

// expressions match what one of them does.
type expressions []*regexp.Regexp

func compileAll(texts []string) (all expressions, errs []error) {
	for i, text := range texts {
		r, err := regexp.Compile(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("[%d]: %w", i, err))
		}
		all = append(all, r)
	}
	return all, errs
}

func (all expressions) match(s string) bool {
	for _, r := range all {
		if r.MatchString(s) {
			return true
		}
	}
	return false
}
