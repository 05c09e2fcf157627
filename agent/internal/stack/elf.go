// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"slices"
)

// Limits of what is read of an ELF file. A file that has more is read up to them.
const (
	maxSections = 4096
	maxSegments = 256
	maxRead     = 32 << 20 // bytes of all tables
	maxSymbols  = 1 << 18  // functions
	maxName     = 512      // bytes of a name
	maxNamed    = 16 << 20 // bytes of all names
)

// errNotELF is the answer for files that are none, or none of this machine's.
var errNotELF = errors.New("no 64-bit little-endian ELF file")

// Of the ELF format (System V ABI, chapters 4 and 5).
const (
	elfHeaderSize  = 64
	elfSectionSize = 64
	elfSegmentSize = 56
	elfSymbolSize  = 24

	sectionSymbols  = 2
	sectionDynamic  = 11
	segmentLoad     = 1
	segmentRuns     = 1 // flag PF_X
	symbolFunction  = 2
	symbolIndirect  = 10 // a function chosen at run time
	symbolUndefined = 0
)

// segment is where a part of a file is, and where its symbols say that it is.
type segment struct{ offset, size, address uint64 }

// function is a function of a file.
type function struct {
	address, size uint64
	name          string
}

// functionSize is what a function takes beside the bytes of its name.
const functionSize = 32

// elfFile is what is known of a file.
type elfFile struct {
	segments []segment
	// functions are by address.
	functions []function
	// bytes is how many the functions take, about.
	bytes int
}

// parseELF reads the symbols of a file that anybody may have written. It reads
// at most what the limits above say, and no further than size.
func parseELF(r io.ReaderAt, size int64) (*elfFile, error) {
	p := &elfParser{r: io.NewSectionReader(r, 0, size), size: uint64(max(size, 0)), left: maxRead}
	header, err := p.read(0, elfHeaderSize)
	if err != nil {
		return nil, errNotELF
	}
	if !bytes.HasPrefix(header, []byte("\x7fELF\x02\x01\x01")) {
		return nil, errNotELF
	}
	le := binary.LittleEndian
	p.parseSegments(le.Uint64(header[32:]), le.Uint16(header[54:]), le.Uint16(header[56:]))
	p.parseSections(le.Uint64(header[40:]), le.Uint16(header[58:]), le.Uint16(header[60:]))
	slices.SortStableFunc(p.file.functions, func(a, b function) int { return cmp.Compare(a.address, b.address) })
	p.file.functions = slices.Clip(slices.CompactFunc(p.file.functions, func(a, b function) bool { return a.address == b.address }))
	p.file.bytes = p.named + len(p.file.functions)*functionSize
	return &p.file, nil
}

// elfParser reads a file.
type elfParser struct {
	r    *io.SectionReader
	size uint64
	// left is how many bytes may still be read.
	left uint64
	file elfFile
	// named is how many bytes names take.
	named int
}

var errOutside = errors.New("outside of the file, or more than is read")

func (p *elfParser) read(offset, n uint64) ([]byte, error) {
	if offset > p.size || n > p.size-offset || n > p.left {
		return nil, errOutside
	}
	p.left -= n
	b := make([]byte, n)
	if _, err := p.r.ReadAt(b, int64(offset)); err != nil {
		return nil, err
	}
	return b, nil
}

// table reads the elements of a table; none when it is not there.
func (p *elfParser) table(offset uint64, entry, entries uint16, size, most int) [][]byte {
	if int(entry) < size {
		return nil
	}
	n := min(int(entries), most)
	all, err := p.read(offset, uint64(n)*uint64(entry))
	if err != nil {
		return nil
	}
	var elements [][]byte
	for i := range n {
		elements = append(elements, all[i*int(entry):][:size])
	}
	return elements
}

func (p *elfParser) parseSegments(offset uint64, entry, entries uint16) {
	le := binary.LittleEndian
	for _, e := range p.table(offset, entry, entries, elfSegmentSize, maxSegments) {
		if le.Uint32(e) != segmentLoad || le.Uint32(e[4:])&segmentRuns == 0 {
			continue
		}
		p.file.segments = append(p.file.segments, segment{
			offset: le.Uint64(e[8:]), address: le.Uint64(e[16:]), size: le.Uint64(e[32:]),
		})
	}
}

func (p *elfParser) parseSections(offset uint64, entry, entries uint16) {
	le := binary.LittleEndian
	sections := p.table(offset, entry, entries, elfSectionSize, maxSections)
	for _, e := range sections {
		kind, link := le.Uint32(e[4:]), le.Uint32(e[40:])
		if kind != sectionSymbols && kind != sectionDynamic || link >= uint32(len(sections)) {
			continue
		}
		names := sections[link]
		p.parseSymbols(le.Uint64(e[24:]), le.Uint64(e[32:]), le.Uint64(names[24:]), le.Uint64(names[32:]))
	}
}

func (p *elfParser) parseSymbols(offset, size, nameOffset, nameSize uint64) {
	symbols, err := p.read(offset, size/elfSymbolSize*elfSymbolSize)
	if err != nil {
		return
	}
	names, err := p.read(nameOffset, nameSize)
	if err != nil {
		return
	}
	le := binary.LittleEndian
	for ; len(symbols) > 0 && len(p.file.functions) < maxSymbols; symbols = symbols[elfSymbolSize:] {
		kind := symbols[4] & 0xf
		if kind != symbolFunction && kind != symbolIndirect || le.Uint16(symbols[6:]) == symbolUndefined {
			continue
		}
		name := p.name(names, le.Uint32(symbols))
		if name == "" {
			continue
		}
		p.file.functions = append(p.file.functions, function{
			address: le.Uint64(symbols[8:]), size: le.Uint64(symbols[16:]), name: name,
		})
	}
}

// name is the name at an offset; empty where there is none, or no room for more.
func (p *elfParser) name(names []byte, offset uint32) string {
	if uint64(offset) >= uint64(len(names)) {
		return ""
	}
	name := names[offset:min(uint64(len(names)), uint64(offset)+maxName)]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	if p.named+len(name) > maxNamed {
		return ""
	}
	p.named += len(name)
	return string(name)
}

// find is the function that is at an offset of the file, and how far into it.
// returned: the offset is where a call returns to.
func (f *elfFile) find(offset uint64, returned bool) (name string, into uint64, ok bool) {
	in := offset
	if returned && in > 0 {
		in--
	}
	for _, s := range f.segments {
		if in < s.offset || in-s.offset >= s.size {
			continue
		}
		address := in - s.offset + s.address
		after, _ := slices.BinarySearchFunc(f.functions, address, func(fn function, a uint64) int {
			if fn.address <= a {
				return -1
			}
			return 1
		})
		if after == 0 {
			continue
		}
		fn := f.functions[after-1]
		// Functions in assembly may have no size.
		if fn.size != 0 && address-fn.address >= fn.size {
			continue
		}
		return fn.name, address - fn.address + (offset - in), true
	}
	return "", 0, false
}
