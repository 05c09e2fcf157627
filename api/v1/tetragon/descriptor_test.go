// SPDX-License-Identifier: Apache-2.0

package tetragon_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// What the tables hold is counted, so that a row which is lost in both is found.
func TestTableSizes(t *testing.T) {
	t.Parallel()
	hasField := func(rows []row) int {
		return len(slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r["field"] == none }))
	}
	wire, later := fieldRows(t, "wire"), fieldRows(t, "later-fields")
	values, methods := enumRows(t, "enums"), serviceRows(t, "services")
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"messages", distinct(wire, "message"), 106},
		{"fields", hasField(wire), 419},
		{"enums", distinct(values, "enum"), 16},
		{"enum values", len(values), 192},
		{"methods", len(methods), 17},
		{"later fields", hasField(later), 45},
		{"later enum values", len(enumRows(t, "later-enums")), 7},
		{"later methods", len(serviceRows(t, "later-services")), 4},
	} {
		if c.got != c.want {
			t.Errorf("the tables know %d %s, want %d", c.got, c.what, c.want)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	want, got := facts{}, facts{}
	for file, imports := range fileImports(t) {
		slices.Sort(imports)
		want.add(t, file, "proto3", fmt.Sprint(imports))
	}
	for _, f := range files(t) {
		var imports []string
		for i := range f.Imports().Len() {
			imports = append(imports, f.Imports().Get(i).Path())
		}
		slices.Sort(imports)
		got.add(t, f.Path(), f.Syntax().String(), fmt.Sprint(imports)+deprecated(f))
		if f.Extensions().Len() != 0 {
			t.Errorf("file %s has extensions", f.Path())
		}
	}
	check(t, "file", want, got)
}

func TestMessages(t *testing.T) {
	t.Parallel()
	want, got := facts{}, facts{}
	for _, r := range fieldRows(t, "wire", "later-fields", "own-fields") {
		want[r["message"]] = r["file"]
	}
	for _, m := range messages(t) {
		got.add(t, short(m), path(m)+deprecated(m))
	}
	check(t, "message", want, got)
}

func TestFields(t *testing.T) {
	t.Parallel()
	want, got := facts{}, facts{}
	fact := func(number, kind, typ, label, oneof, packed, deprecated, json string) string {
		return fmt.Sprintf("number=%s kind=%s type=%s label=%s oneof=%s packed=%s deprecated=%s json=%s",
			number, kind, typ, label, oneof, packed, deprecated, json)
	}
	for _, r := range fieldRows(t, "wire", "later-fields", "own-fields") {
		if r["field"] == none {
			continue
		}
		want.add(t, r["message"]+"."+r["field"], fact(r["number"], r["kind"], r["type"], r["label"],
			r["oneof"], r["packed"], r["deprecated"], r["json_name"]))
	}
	for _, m := range messages(t) {
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			typ, kind := typeName(f)
			rule, oneof := label(f)
			got.add(t, short(f), fact(strconv.Itoa(int(f.Number())), kind, typ, rule,
				oneof, when(f.IsPacked(), "packed"), deprecated(f), f.JSONName()))
		}
	}
	check(t, "field", want, got)
}

// Ours begin at 1000, where the compatible API will not come.
func TestOwnFields(t *testing.T) {
	t.Parallel()
	compatible := map[string]bool{}
	for _, r := range fieldRows(t, "wire", "later-fields") {
		compatible[r["message"]] = true
	}
	for _, r := range fieldRows(t, "own-fields") {
		if !compatible[r["message"]] {
			continue // a message of ours, or an entry of a map
		}
		if r["message"] != "CreateContainer" && r["message"] != "RuntimeHookRequest" {
			t.Errorf("%s.%s: own fields belong to what hooks tell alone", r["message"], r["field"])
		}
		if number, err := strconv.Atoi(r["number"]); err != nil || number < 1000 {
			t.Errorf("%s.%s: number %s, want 1000 or more", r["message"], r["field"], r["number"])
		}
	}
}

func TestEnums(t *testing.T) {
	t.Parallel()
	want, got := facts{}, facts{}
	for _, r := range enumRows(t, "enums", "later-enums") {
		want.add(t, r["enum"]+"."+r["value"], r["number"], r["file"], r["deprecated"], r["options"])
	}
	for _, e := range enums(t) {
		alias := e.Options().(*descriptorpb.EnumOptions).GetAllowAlias()
		for i := range e.Values().Len() {
			v := e.Values().Get(i)
			got.add(t, short(e)+"."+string(v.Name()), strconv.Itoa(int(v.Number())), path(e),
				deprecated(e)+deprecated(v), when(alias, "allow_alias"))
		}
	}
	check(t, "enum value", want, got)
}

func TestReserved(t *testing.T) {
	t.Parallel()
	want, got := facts{}, facts{}
	for _, r := range table(t, "reserved", "file", "kind", "name", "numbers", "names") {
		want.add(t, r["kind"]+" "+r["name"], r["file"], r["numbers"], r["names"])
	}
	span := func(first, last int32) string {
		if first == last {
			return strconv.Itoa(int(first))
		}
		return fmt.Sprintf("%d-%d", first, last)
	}
	note := func(d protoreflect.Descriptor, kind string, numbers []string, names protoreflect.Names) {
		var words []string
		for i := range names.Len() {
			words = append(words, string(names.Get(i)))
		}
		if len(numbers)+len(words) > 0 {
			got.add(t, kind+" "+short(d), path(d), strings.Join(numbers, ";"), strings.Join(words, ";"))
		}
	}
	for _, m := range messages(t) {
		var numbers []string
		for i := range m.ReservedRanges().Len() {
			r := m.ReservedRanges().Get(i) // [first, end)
			numbers = append(numbers, span(int32(r[0]), int32(r[1])-1))
		}
		note(m, "message", numbers, m.ReservedNames())
	}
	for _, e := range enums(t) {
		var numbers []string
		for i := range e.ReservedRanges().Len() {
			r := e.ReservedRanges().Get(i) // [first, last]
			numbers = append(numbers, span(int32(r[0]), int32(r[1])))
		}
		note(e, "enum", numbers, e.ReservedNames())
	}
	check(t, "reserved", want, got)
}

func TestServices(t *testing.T) {
	t.Parallel()
	want, got := facts{}, facts{}
	for _, r := range serviceRows(t, "services", "later-services") {
		want.add(t, r["service"]+"."+r["method"], r["file"], r["path"], r["request"], r["response"],
			r["in"], r["out"], r["deprecated"])
	}
	for _, s := range services(t) {
		for i := range s.Methods().Len() {
			m := s.Methods().Get(i)
			got.add(t, string(m.FullName()), path(m), fmt.Sprintf("/%s/%s", s.FullName(), m.Name()),
				string(m.Input().FullName()), string(m.Output().FullName()),
				streams(m.IsStreamingClient(), m.IsStreamingServer()), deprecated(s)+deprecated(m))
		}
	}
	check(t, "method", want, got)
}

// The code for gRPC is generated by another tool than the descriptors.
func TestServiceCode(t *testing.T) {
	t.Parallel()
	want, got := facts{}, facts{}
	for _, r := range serviceRows(t, "services", "later-services") {
		want.add(t, r["path"], r["file"], r["in"], r["out"])
	}
	for _, desc := range []grpc.ServiceDesc{tetragon.FineGuidanceSensors_ServiceDesc, tetragon.EventLogService_ServiceDesc} {
		add := func(method, streaming string) {
			got.add(t, fmt.Sprintf("/%s/%s", desc.ServiceName, method), fmt.Sprint(desc.Metadata), streaming)
		}
		for _, m := range desc.Methods {
			add(m.MethodName, streams(false, false))
		}
		for _, s := range desc.Streams {
			add(s.StreamName, streams(s.ClientStreams, s.ServerStreams))
		}
	}
	check(t, "generated method", want, got)
}
