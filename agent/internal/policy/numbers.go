// SPDX-License-Identifier: Apache-2.0

package policy

import (
	_ "embed" // the numbers
	"runtime"
	"slices"
	"strconv"
	"strings"
)

//go:generate sh numbers.sh

//go:embed numbers.txt
var numbersText string

// compatCall marks the number of a system call of the machine's 32-bit ABI.
const compatCall = 1 << 31

// names are what words in the values of a filter stand for.
type names struct {
	lists map[string]list
	// numbers is read when the first name is asked for.
	numbers map[string]uint64
}

// number is that of a constant of the kernel, by its own name, or of a system
// call of this machine, by a name of Hook.Calls.
func (n *names) number(name string) (uint64, bool) {
	if n.numbers == nil {
		n.numbers = numbers(runtime.GOARCH)
	}
	i, ok := n.numbers[name]
	return i, ok
}

// Syscalls are the system calls of this machine's own ABI whose numbers are known,
// named as in Hook.Calls, in order.
func Syscalls() []string {
	var calls []string
	for name := range numbers(runtime.GOARCH) {
		if strings.HasPrefix(name, "sys_") {
			calls = append(calls, name)
		}
	}
	slices.Sort(calls)
	return calls
}

// numbers are all that are known on an architecture. System calls of its own ABI
// are there also without the ABI's name; those of others are not.
func numbers(arch string) map[string]uint64 {
	native, compat := "x64", "i386"
	if arch == "arm64" {
		native, compat = "arm64", "arm32"
	}
	all := map[string]uint64{}
	for line := range strings.Lines(numbersText) {
		name, digits, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		n, err := strconv.ParseUint(digits, 0, 31)
		abi, call, isCall := strings.Cut(name, "/")
		switch {
		case err != nil:
		case !isCall:
			all[name] = n
		case abi == native:
			all[call], all[name] = n, n
		case abi == compat:
			all[name] = n | compatCall
		}
	}
	return all
}
