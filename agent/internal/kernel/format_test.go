// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someFormat = `name: some_event
ID: 1234
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:const char *const * argv;	offset:8;	size:8;	signed:0;
	field:char comm[16];	offset:16;	size:16;	signed:0;
	field:unsigned long args[6];	offset:32;	size:48;	signed:0;
	field:__data_loc char[] filename;	offset:80;	size:4;	signed:0;
	field:__rel_loc u64[] addrs;	offset:84;	size:4;	signed:0;
	field:u8 table[SOME_LENGTH];	offset:88;	size:4;	signed:0;
	field:struct a *b;	offset:96;	size:8;	signed:0;
	field:char buf[];	offset:104;	size:0;	signed:0;

print fmt: "name: %s ID: field:broken", REC->comm
name: not_this_one
	field:broken
`

func TestParseFormat(t *testing.T) {
	t.Parallel()
	want := Format{Name: "some_event", ID: 1234, Fields: []Field{
		{Name: "common_type", Type: "unsigned short", Size: 2},
		{Name: "common_pid", Type: "int", Offset: 4, Size: 4, Signed: true},
		{Name: "argv", Type: "const char *const *", Offset: 8, Size: 8},
		{Name: "comm", Type: "char", Offset: 16, Size: 16, ArrayLen: 16},
		{Name: "args", Type: "unsigned long", Offset: 32, Size: 48, ArrayLen: 6},
		{Name: "filename", Type: "char", Offset: 80, Size: 4, ArrayLen: -1, DataLoc: true},
		{Name: "addrs", Type: "u64", Offset: 84, Size: 4, ArrayLen: -1, DataLoc: true, RelLoc: true},
		{Name: "table", Type: "u8", Offset: 88, Size: 4, ArrayLen: -1},
		{Name: "b", Type: "struct a *", Offset: 96, Size: 8},
		{Name: "buf", Type: "char", Offset: 104, ArrayLen: -1},
	}}
	got, err := ParseFormat(someFormat)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if f, ok := got.Field("comm"); !ok || f != want.Fields[3] {
		t.Errorf("Field(comm) = %+v, %v", f, ok)
	}
	if f, ok := got.Field("none"); ok {
		t.Errorf("Field(none) = %+v", f)
	}
}

func TestParseFormatRefuses(t *testing.T) {
	t.Parallel()
	head := "name: x\nID: 7\nformat:\n\tfield:"
	tests := []struct{ name, text, want string }{
		{"empty", "", "no name"},
		{"no_name", "ID: 7\n", "no name"},
		{"no_id", "name: x\n", "x has no ID"},
		{"bad_id", "name: x\nID: seven\n", "line 2"},
		{"negative_id", "name: x\nID: -7\n", "line 2"},
		{"unended_field", head + "int a", "line 4: field \"int a\" does not end"},
		{"no_type", head + "a;\toffset:0;\tsize:4;", "no type and name"},
		{"no_field_name", head + "char *;\toffset:0;\tsize:4;", "no type and name"},
		{"no_offset", head + "int a;\tsize:4;\tsigned:1;", "field a: no offset"},
		{"no_size", head + "int a;\toffset:4;", "field a: no size"},
		{"bad_offset", head + "int a;\toffset:x;\tsize:4;", "offset is \"x\""},
		{"negative_offset", head + "int a;\toffset:-4;\tsize:4;", "offset is \"-4\""},
		{"huge_size", head + "int a;\toffset:0;\tsize:99999999;", "size is"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseFormat(tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ParseFormat = %+v, %v; want %q", got, err, tt.want)
			}
		})
	}
}

func FuzzParseFormat(f *testing.F) {
	f.Add(someFormat)
	f.Add("name: a\nID: 1\n\tfield:__data_loc [;offset:0;size:1;")
	f.Add("name: a\nID: 18446744073709551615\n\tfield:int ]x[3;offset:0;size:1;signed:;")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseFormat(text)
		if err != nil {
			return
		}
		for _, field := range got.Fields {
			if field.Name == "" || field.Type == "" || field.Offset < 0 || field.Size < 0 || field.ArrayLen < -1 {
				t.Fatalf("ParseFormat(%q): %+v", text, field)
			}
		}
	})
}
