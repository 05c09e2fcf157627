// SPDX-License-Identifier: Apache-2.0

package tetragon_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// files lists the descriptors of the package that are linked in.
func files(tb testing.TB) []protoreflect.FileDescriptor {
	tb.Helper()
	var all []protoreflect.FileDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage("tetragon", func(f protoreflect.FileDescriptor) bool {
		all = append(all, f)
		return true
	})
	if !slices.Contains(all, tetragon.File_tetragon_tetragon_proto) {
		tb.Fatal("tetragon/tetragon.proto is not registered")
	}
	return all
}

// messages lists the messages of all files, nested ones and entries of maps
// among them.
func messages(tb testing.TB) []protoreflect.MessageDescriptor {
	tb.Helper()
	var all []protoreflect.MessageDescriptor
	var walk func(protoreflect.MessageDescriptors)
	walk = func(list protoreflect.MessageDescriptors) {
		for i := range list.Len() {
			all = append(all, list.Get(i))
			walk(list.Get(i).Messages())
		}
	}
	for _, f := range files(tb) {
		walk(f.Messages())
	}
	return all
}

// enums lists the enums of all files, those inside of messages among them.
func enums(tb testing.TB) []protoreflect.EnumDescriptor {
	tb.Helper()
	var all []protoreflect.EnumDescriptor
	add := func(list protoreflect.EnumDescriptors) {
		for i := range list.Len() {
			all = append(all, list.Get(i))
		}
	}
	for _, f := range files(tb) {
		add(f.Enums())
	}
	for _, m := range messages(tb) {
		add(m.Enums())
	}
	return all
}

func services(tb testing.TB) []protoreflect.ServiceDescriptor {
	tb.Helper()
	var all []protoreflect.ServiceDescriptor
	for _, f := range files(tb) {
		for i := range f.Services().Len() {
			all = append(all, f.Services().Get(i))
		}
	}
	return all
}

// short is a name as the tables write it: without the package if it is ours.
func short(d protoreflect.Descriptor) string {
	return strings.TrimPrefix(string(d.FullName()), "tetragon.")
}

func path(d protoreflect.Descriptor) string { return d.ParentFile().Path() }

// deprecated is the word of the tables for it, or nothing. Every kind of
// options that is used here has the mark.
func deprecated(d protoreflect.Descriptor) string {
	if o, ok := d.Options().(interface{ GetDeprecated() bool }); ok && o.GetDeprecated() {
		return "deprecated"
	}
	return ""
}

// typeName is a field's type and kind, as the tables write them.
func typeName(f protoreflect.FieldDescriptor) (name, kind string) {
	switch {
	case f.IsMap():
		key, _ := typeName(f.MapKey())
		value, _ := typeName(f.MapValue())
		return fmt.Sprintf("map<%s,%s>", key, value), "message"
	case f.Kind() == protoreflect.MessageKind:
		return short(f.Message()), "message"
	case f.Kind() == protoreflect.EnumKind:
		return short(f.Enum()), "enum"
	}
	return f.Kind().String(), "scalar"
}

func label(f protoreflect.FieldDescriptor) (label, oneof string) {
	switch {
	case f.IsMap():
		return "map", ""
	case f.IsList():
		return "repeated", ""
	case f.HasOptionalKeyword():
		return "optional", "" // its oneof is a trick of the compiler
	case f.ContainingOneof() != nil:
		return "oneof", string(f.ContainingOneof().Name())
	}
	return "singular", ""
}

func when(b bool, word string) string {
	if b {
		return word
	}
	return ""
}

// streams is what a method takes and gives, as the tables write it.
func streams(client, server bool) string {
	in, out := "unary-in", "unary-out"
	if client {
		in = "client-stream"
	}
	if server {
		out = "server-stream"
	}
	return in + " " + out
}
