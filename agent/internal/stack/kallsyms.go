// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxKernelText bounds the text of the kernel's symbols: it has some 10 MB.
	maxKernelText = 128 << 20
	// refreshEvery is how often it is asked whether modules have come or gone.
	refreshEvery = 30 * time.Second
	// lastExtent is how long a function may be that no other one of its module
	// follows.
	lastExtent = 4096
)

// kernelSymbol is where a function of the kernel begins.
type kernelSymbol struct {
	address      uint64
	name, module string
}

// kernelTable is the functions of the kernel.
type kernelTable struct {
	symbols, list string
	table         []kernelSymbol // by address
	modules       []byte         // what the list of modules said
	asked         time.Time
}

// refresh reads the symbols when there are none or modules have changed. What
// cannot be read leaves what there was.
func (k *kernelTable) refresh(now time.Time) {
	if !k.asked.IsZero() && now.Sub(k.asked) < refreshEvery {
		return
	}
	k.asked = now
	// A kernel without modules has no such file.
	modules, err := os.ReadFile(k.list)
	if err != nil {
		modules = nil
	}
	modules = loadedModules(modules)
	if k.table != nil && bytes.Equal(modules, k.modules) {
		return
	}
	file, err := os.Open(k.symbols)
	if err != nil {
		return
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxKernelText))
	if err != nil {
		return
	}
	k.table, k.modules = parseKallsyms(string(text)), modules
}

// loadedModules is the list without the numbers of users, which change all the
// time.
func loadedModules(list []byte) []byte {
	var out []byte
	for line := range bytes.Lines(list) {
		fields := bytes.Fields(line)
		if len(fields) > 0 {
			out = append(append(append(out, fields[0]...), ' '), fields[len(fields)-1]...)
			out = append(out, '\n')
		}
	}
	return out
}

// programs is what the kernel calls the module of BPF programs: they come and go, so
// that their names here tell nothing. They end what is before them.
const programs = "bpf"

// parseKallsyms takes the functions out of lines "address type name [module]". An
// address that the kernel hides is 0 and left out.
func parseKallsyms(text string) []kernelSymbol {
	var table []kernelSymbol
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 || !strings.Contains("tTwW", fields[1]) {
			continue
		}
		address, err := strconv.ParseUint(fields[0], 16, 64)
		if err != nil || address == 0 {
			continue
		}
		s := kernelSymbol{address: address, name: strings.Clone(fields[2])}
		if len(fields) > 3 {
			s.module = strings.Clone(strings.Trim(fields[3], "[]"))
		}
		if s.module == programs {
			s.name = ""
		}
		table = append(table, s)
	}
	slices.SortStableFunc(table, func(a, b kernelSymbol) int {
		switch {
		case a.address < b.address:
			return -1
		case a.address > b.address:
			return 1
		}
		return 0
	})
	return slices.Clip(table)
}

// frame is the function that an address is in. returned: the address is where a
// call returns to, which can be after the end of the function that called.
func (k *kernelTable) frame(address uint64, returned bool) Frame {
	in := address
	if returned && in > 0 {
		in--
	}
	after := k.after(in)
	if after == 0 {
		return Frame{}
	}
	at := after - 1
	// Of several names for one place the first is taken.
	for at > 0 && k.table[at-1].address == k.table[at].address {
		at--
	}
	s := k.table[at]
	last := after == len(k.table) || k.table[after].module != s.module
	if s.name == "" || last && in-s.address >= lastExtent {
		return Frame{}
	}
	return Frame{Symbol: s.name, Offset: address - s.address, Module: s.module}
}

// after is the index of the first function behind an address.
func (k *kernelTable) after(address uint64) int {
	at, _ := slices.BinarySearchFunc(k.table, address, func(s kernelSymbol, a uint64) int {
		if s.address <= a {
			return -1
		}
		return 1
	})
	return at
}
