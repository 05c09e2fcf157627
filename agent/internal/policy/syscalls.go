// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
)

// resolveSyscalls takes numbers, ranges of them, and the lists of system calls.
func (f *ArgFilter) resolveSyscalls(known *names, report func(int, string)) {
	f.Ranges = make([]Range, 0, len(f.Values))
	for i, v := range f.Values {
		var ranges []Range
		var reason string
		if name, isList := strings.CutPrefix(v, listPrefix); isList {
			if known.lists[name].generated {
				f.Lists = append(f.Lists, name)
				continue
			}
			ranges, reason = known.listedNumbers(name)
		} else {
			ranges = make([]Range, 1)
			ranges[0], _, reason = interval(f.Op.Positive(), ArgUint64, v, number)
		}
		if reason != "" {
			report(i, reason)
			continue
		}
		f.Ranges = append(f.Ranges, ranges...)
	}
	f.orderRanges(ArgUint64)
}

// listedNumbers are the numbers of a list's system calls.
func (n *names) listedNumbers(name string) (ranges []Range, reason string) {
	l, ok := n.lists[name]
	switch {
	case !ok:
		return nil, fmt.Sprintf("there is no list %s in spec.lists", quote(name))
	case l.broken:
		return nil, "" // which is a fault of its own
	}
	ranges, reason = n.callNumbers(l.values)
	if reason != "" {
		return nil, fmt.Sprintf("list %s: %s", quote(name), reason)
	}
	return ranges, ""
}

// callNumbers are the numbers of system calls, or the reason why one has none.
func (n *names) callNumbers(calls []string) (ranges []Range, reason string) {
	for _, call := range calls {
		if call, reason = syscallName(call); reason != "" {
			return nil, reason
		}
		i, ok := n.number(call)
		if !ok {
			return nil, quote(call) + " is no system call of this machine whose number is known"
		}
		ranges = append(ranges, Range{Lo: i, Hi: i})
	}
	return ranges, ""
}
