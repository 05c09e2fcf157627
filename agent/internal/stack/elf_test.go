// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// written is an ELF file as a test writes it.
type written struct {
	segments  []segment
	functions []function
	// tables is how many sections name the same symbols.
	tables int
	// change changes the bytes at last.
	change func([]byte)
}

// bytes lays the file out: header, segments, sections, symbols, names.
func (w written) bytes() []byte {
	le := binary.LittleEndian
	names := []byte{0}
	symbols := make([]byte, elfSymbolSize)
	for _, f := range w.functions {
		s := make([]byte, elfSymbolSize)
		le.PutUint32(s, uint32(len(names)))
		s[4], s[6] = symbolFunction, 1
		le.PutUint64(s[8:], f.address)
		le.PutUint64(s[16:], f.size)
		symbols = append(symbols, s...)
		names = append(append(names, f.name...), 0)
	}
	tables := max(w.tables, 1)
	segmentsAt := elfHeaderSize
	sectionsAt := segmentsAt + len(w.segments)*elfSegmentSize
	symbolsAt := sectionsAt + (1+tables)*elfSectionSize
	namesAt := symbolsAt + len(symbols)
	b := make([]byte, symbolsAt)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint64(b[32:], uint64(segmentsAt))
	le.PutUint16(b[54:], elfSegmentSize)
	le.PutUint16(b[56:], uint16(len(w.segments)))
	le.PutUint64(b[40:], uint64(sectionsAt))
	le.PutUint16(b[58:], elfSectionSize)
	le.PutUint16(b[60:], uint16(1+tables))
	for i, s := range w.segments {
		e := b[segmentsAt+i*elfSegmentSize:]
		le.PutUint32(e, segmentLoad)
		le.PutUint32(e[4:], segmentRuns)
		le.PutUint64(e[8:], s.offset)
		le.PutUint64(e[16:], s.address)
		le.PutUint64(e[32:], s.size)
	}
	section := func(i int, kind uint32, at, size int, link uint32) {
		e := b[sectionsAt+i*elfSectionSize:]
		le.PutUint32(e[4:], kind)
		le.PutUint64(e[24:], uint64(at))
		le.PutUint64(e[32:], uint64(size))
		le.PutUint32(e[40:], link)
	}
	section(0, 3, namesAt, len(names), 0)
	for i := range tables {
		section(1+i, sectionSymbols, symbolsAt, len(symbols), 0)
	}
	b = append(append(b, symbols...), names...)
	if w.change != nil {
		w.change(b)
	}
	return b
}

func (w written) parse(t *testing.T) *elfFile {
	t.Helper()
	b := w.bytes()
	f, err := parseELF(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFunctionsAreFound(t *testing.T) {
	t.Parallel()
	f := written{
		segments: []segment{{offset: 0x1000, size: 0x1000, address: 0x401000}, {offset: 0x5000, size: 0x1000, address: 0x905000}},
		functions: []function{
			{address: 0x401100, size: 0x20, name: "sized"}, {address: 0x401200, name: "unsized"}, {address: 0x905000, size: 0x1000, name: "far"},
		},
	}.parse(t)
	for _, c := range []struct {
		offset   uint64
		returned bool
		name     string
		into     uint64
	}{
		{0x1100, false, "sized", 0},
		{0x111f, false, "sized", 0x1f},
		{0x1120, true, "sized", 0x20}, // behind a call that is its last instruction
		{0x1120, false, "", 0},
		{0x10ff, false, "", 0},
		{0x1200, false, "unsized", 0},
		{0x1fff, false, "unsized", 0xdff},
		{0x2000, false, "", 0},
		{0x5010, true, "far", 0x10},
		{0x401100, false, "", 0},
		{1<<64 - 1, true, "", 0},
		{0, true, "", 0},
	} {
		name, into, ok := f.find(c.offset, c.returned)
		if name != c.name || into != c.into || ok != (c.name != "") {
			t.Errorf("%#x: %q+%#x, want %q+%#x", c.offset, name, into, c.name, c.into)
		}
	}
}

func TestFilesThatAreNone(t *testing.T) {
	t.Parallel()
	whole := written{functions: []function{{address: 1, name: "f"}}}.bytes()
	for name, b := range map[string][]byte{
		"empty": nil, "text": []byte("#!/bin/sh\n" + strings.Repeat("#", 100)), "short": whole[:63],
		"of 32 bits": append([]byte("\x7fELF\x01"), whole[5:]...), "big-endian": append([]byte("\x7fELF\x02\x02"), whole[6:]...),
	} {
		if _, err := parseELF(bytes.NewReader(b), int64(len(b))); !errors.Is(err, errNotELF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever a file says, only so much is read of it and kept.
func TestFilesAreBounded(t *testing.T) {
	t.Parallel()
	long := written{functions: []function{{address: 1, name: strings.Repeat("n", 10_000)}}}.parse(t)
	if got := long.functions[0].name; len(got) != maxName {
		t.Errorf("a name of %d bytes", len(got))
	}
	var many written
	for i := range 10_000 {
		many.functions = append(many.functions, function{address: uint64(i), name: strings.Repeat("n", 400)})
	}
	many.tables = 4000
	f := many.parse(t)
	if len(f.functions) > maxSymbols || f.bytes > maxNamed+maxSymbols*functionSize {
		t.Errorf("%d functions, %d bytes", len(f.functions), f.bytes)
	}
	lies := written{functions: []function{{address: 1, name: "f"}}, change: func(b []byte) {
		// Symbols of which there are more than the file has bytes.
		binary.LittleEndian.PutUint64(b[elfHeaderSize+elfSectionSize+32:], 1<<63)
	}}.parse(t)
	if len(lies.functions) != 0 {
		t.Errorf("%d functions of a table that is not there", len(lies.functions))
	}
	p := elfParser{size: 1 << 40, left: maxRead}
	if _, err := p.read(0, maxRead+1); !errors.Is(err, errOutside) {
		t.Errorf("read more than is allowed: %v", err)
	}
}

func FuzzELF(f *testing.F) {
	f.Add(written{
		segments: []segment{{offset: 0, size: 1 << 20, address: 0}}, functions: []function{{address: 1, size: 2, name: "f"}},
	}.bytes(), uint64(1))
	f.Add(written{tables: 3, segments: []segment{{1, 2, 3}}, functions: []function{{4, 0, "g"}, {5, 1 << 63, ""}}}.bytes(), uint64(1<<63))
	f.Fuzz(func(t *testing.T, b []byte, offset uint64) {
		file, err := parseELF(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		if len(file.functions) > maxSymbols || len(file.segments) > maxSegments || file.bytes > maxNamed+maxSymbols*functionSize {
			t.Errorf("%d functions, %d segments, %d bytes", len(file.functions), len(file.segments), file.bytes)
		}
		for _, returned := range []bool{false, true} {
			if name, _, ok := file.find(offset, returned); ok && (name == "" || len(name) > maxName) {
				t.Errorf("name %q", name)
			}
		}
	})
}
