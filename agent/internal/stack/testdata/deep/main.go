// SPDX-License-Identifier: Apache-2.0

// Command deep writes the addresses of its stack, innermost first, and waits for
// the end of its input.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
)

func main() { outermost() }

//go:noinline
func outermost() {
	middle()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

//go:noinline
func middle() { innermost() }

//go:noinline
func innermost() {
	var stack [16]uintptr
	n := runtime.Callers(1, stack[:])
	for _, address := range stack[:n] {
		fmt.Printf("%#x ", address)
	}
	fmt.Println()
}
