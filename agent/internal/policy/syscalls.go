// SPDX-License-Identifier: Apache-2.0

package policy

import (
	_ "embed" // the numbers of system calls
	"fmt"
	"runtime"
	"strconv"
	"strings"
)

//go:generate sh syscalls.sh

//go:embed syscalls.txt
var syscallNumbers string

// compatCall marks the number of a system call of the machine's 32-bit ABI.
const compatCall = 1 << 31

// resolveSyscalls takes numbers, ranges of them, and the lists of system calls.
func (f *ArgFilter) resolveSyscalls(lists map[string]list, report func(int, string)) {
	f.Ranges = make([]Range, 0, len(f.Values))
	var numbers map[string]uint64
	for i, v := range f.Values {
		name, isList := strings.CutPrefix(v, listPrefix)
		if !isList {
			r, _, reason := interval(f.Op.Positive(), ArgUint64, v, number)
			if reason != "" {
				report(i, reason)
				continue
			}
			f.Ranges = append(f.Ranges, r)
			continue
		}
		if numbers == nil {
			numbers = syscallTable(runtime.GOARCH)
		}
		ranges, reason := listedNumbers(lists, name, numbers)
		if reason != "" {
			report(i, reason)
			continue
		}
		f.Ranges = append(f.Ranges, ranges...)
	}
	f.orderRanges(ArgUint64)
}

func listedNumbers(lists map[string]list, name string, numbers map[string]uint64) (ranges []Range, reason string) {
	l, ok := lists[name]
	switch {
	case !ok:
		return nil, fmt.Sprintf("there is no list %s in spec.lists", quote(name))
	case l.broken:
		return nil, "" // which is a fault of its own
	}
	for _, call := range l.values {
		if call, reason = syscallName(call); reason != "" {
			return nil, fmt.Sprintf("list %s: %s", quote(name), reason)
		}
		n, ok := numbers[call]
		if !ok {
			return nil, fmt.Sprintf("list %s: %s is no system call of this machine whose number is known", quote(name), quote(call))
		}
		ranges = append(ranges, Range{Lo: n, Hi: n})
	}
	return ranges, ""
}

// syscallTable has the numbers of both ABIs of an architecture, by the names of
// Hook.Calls; those of the native one also without its name.
func syscallTable(arch string) map[string]uint64 {
	native, compat := "x64", "i386"
	if arch == "arm64" {
		native, compat = "arm64", "arm32"
	}
	table := map[string]uint64{}
	for line := range strings.Lines(syscallNumbers) {
		abi, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		name, digits, _ := strings.Cut(rest, " ")
		n, err := strconv.ParseUint(digits, 10, 31)
		switch {
		case err != nil:
		case abi == native:
			table["sys_"+name] = n
			table[abi+"/sys_"+name] = n
		case abi == compat:
			table[abi+"/sys_"+name] = n | compatCall
		}
	}
	return table
}
