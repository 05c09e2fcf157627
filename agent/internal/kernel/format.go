// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxRecord is more than any trace event's record has: the kernel's buffer for
// one is a page.
const maxRecord = 1 << 16

// Format describes the records of a trace event.
type Format struct {
	// Name is the event's name without its group.
	Name string
	// ID is what perf_event_open takes for it.
	ID uint64
	// Fields are the record's fields in order, the common_ ones first.
	Fields []Field
}

// Field is one field of a trace event's record.
type Field struct {
	// Name is the field's name.
	Name string
	// Type is the C type, of one element for an array: "char", "umode_t",
	// "const char *".
	Type string
	// Offset is where the field begins in the record, in bytes.
	Offset int
	// Size is the field's length in the record, in bytes. That of a DataLoc
	// field is the descriptor's.
	Size int
	// Signed tells whether an integer is signed.
	Signed bool
	// ArrayLen is the number of elements of an array, 0 for what is no array,
	// and -1 where the format does not tell: at the end of a record, for
	// DataLoc fields, and where it is a C expression.
	ArrayLen int
	// DataLoc tells that the field holds a 32-bit descriptor: the data's
	// length << 16 | its offset in the record.
	DataLoc bool
	// RelLoc is DataLoc with an offset that counts from the field's end.
	RelLoc bool
}

// Field finds a field by name.
func (f *Format) Field(name string) (Field, bool) {
	for _, field := range f.Fields {
		if field.Name == name {
			return field, true
		}
	}
	return Field{}, false
}

// ParseFormat parses the text of a trace event's format file. Fields that
// overlap or lie out of order are the kernel's business, sizes and offsets
// that no record can have are errors.
func ParseFormat(text string) (Format, error) {
	var (
		f      Format
		haveID bool
		n      int
	)
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		var err error
		switch key {
		case "name":
			f.Name = strings.TrimSpace(value)
		case "ID":
			f.ID, err = strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			haveID = true
		case "field":
			var field Field
			field, err = parseField(value)
			f.Fields = append(f.Fields, field)
		}
		if err != nil {
			return Format{}, fmt.Errorf("parse event format: line %d: %w", n, err)
		}
		if key == "print fmt" {
			break // C expressions from here on
		}
	}
	switch {
	case f.Name == "":
		return Format{}, errors.New("parse event format: it has no name")
	case !haveID:
		return Format{}, fmt.Errorf("parse event format: %s has no ID", f.Name)
	}
	return f, nil
}

// parseField parses "char comm[16];	offset:8;	size:16;	signed:0;".
func parseField(text string) (Field, error) {
	decl, attributes, ok := strings.Cut(text, ";")
	if !ok {
		return Field{}, fmt.Errorf("field %q does not end", text)
	}
	field, err := parseDeclaration(decl)
	if err != nil {
		return Field{}, err
	}
	seen := map[string]int{}
	for part := range strings.SplitSeq(attributes, ";") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), ":")
		if !ok {
			continue
		}
		number, err := strconv.Atoi(value)
		if err != nil || number < 0 || number > maxRecord {
			return Field{}, fmt.Errorf("field %s: %s is %q", field.Name, key, value)
		}
		seen[key] = number
	}
	for _, key := range []string{"offset", "size"} {
		if _, ok := seen[key]; !ok {
			return Field{}, fmt.Errorf("field %s: no %s", field.Name, key)
		}
	}
	field.Offset, field.Size, field.Signed = seen["offset"], seen["size"], seen["signed"] != 0
	return field, nil
}

// parseDeclaration splits a C declaration into type, name and array length.
func parseDeclaration(decl string) (Field, error) {
	var f Field
	rest := strings.TrimSpace(decl)
	if r, ok := strings.CutPrefix(rest, "__data_loc "); ok {
		rest, f.DataLoc = r, true
	} else if r, ok := strings.CutPrefix(rest, "__rel_loc "); ok {
		rest, f.DataLoc, f.RelLoc = r, true, true
	}
	if head, length, ok := strings.Cut(rest, "["); ok && strings.HasSuffix(length, "]") {
		rest, f.ArrayLen = head, -1
		if n, err := strconv.Atoi(strings.TrimSuffix(length, "]")); err == nil && n > 0 && n <= maxRecord {
			f.ArrayLen = n
		}
	} else if ok && f.DataLoc {
		// "__data_loc char[] name": the brackets belong to the type.
		_, name, _ := strings.Cut(length, "]")
		rest, f.ArrayLen = head+" "+strings.TrimSpace(name), -1
	}
	rest = strings.TrimSpace(rest)
	at := strings.LastIndexAny(rest, " \t*") + 1
	f.Type, f.Name = strings.TrimSpace(rest[:at]), rest[at:]
	if f.Type == "" || f.Name == "" {
		return Field{}, fmt.Errorf("declaration %q has no type and name", decl)
	}
	return f, nil
}
