// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxRequest is the largest encoded request, in bytes: what a gRPC server takes
// by default.
const MaxRequest = 4 << 20

// field is a field's number in a protobuf message.
type field uint64

// Wire types of protobuf.
const (
	wireVarint = 0
	wireBytes  = 2
)

// Field numbers of RuntimeHookRequest, CreateContainer and Mount. The generated
// package knows them too, but linking it and its reflection makes the start of
// the hook process half again as long; a test holds both encodings equal.
const (
	fieldCreateContainer field = 1
	fieldRemoveContainer field = 1000

	fieldCgroupsPath    field = 1
	fieldRootDir        field = 2
	fieldAnnotations    field = 3
	fieldName           field = 4
	fieldID             field = 5
	fieldPodName        field = 6
	fieldPodUID         field = 7
	fieldPodNamespace   field = 8
	fieldImage          field = 9
	fieldMounts         field = 10
	fieldLabels         field = 1000
	fieldPodLabels      field = 1001
	fieldInitPid        field = 1002
	fieldRuntime        field = 1003
	fieldBundle         field = 1004
	fieldPodAnnotations field = 1005
	fieldVersion        field = 1006
	fieldLate           field = 1007
	fieldPrivileged     field = 1008
	fieldSandbox        field = 1009

	fieldMountDestination field = 1
	fieldMountType        field = 2
	fieldMountSource      field = 3
	fieldMountOptions     field = 4

	fieldRemovedID field = 1

	fieldKey   field = 1
	fieldValue field = 2
)

// Marshal encodes the request as the protobuf message
// tetragon.RuntimeHookRequest. The encoding is deterministic. A request larger
// than MaxRequest is an error that wraps ErrRequest: leaving annotations out
// would let a pod choose by its size what the agent gets to see.
func (r *Request) Marshal() ([]byte, error) {
	body := appendString(nil, fieldCgroupsPath, r.CgroupsPath)
	body = appendString(body, fieldRootDir, r.RootDir)
	body = appendMap(body, fieldAnnotations, r.Annotations)
	body = appendString(body, fieldName, r.Name)
	body = appendString(body, fieldID, r.ID)
	body = appendString(body, fieldPodName, r.PodName)
	body = appendString(body, fieldPodUID, r.PodUID)
	body = appendString(body, fieldPodNamespace, r.PodNamespace)
	body = appendString(body, fieldImage, r.Image)
	for _, mount := range r.Mounts {
		body = appendBytes(body, fieldMounts, encodeMount(mount))
	}
	body = appendMap(body, fieldLabels, r.Labels)
	body = appendMap(body, fieldPodLabels, r.PodLabels)
	body = appendNumber(body, fieldInitPid, uint64(r.InitPid))
	body = appendString(body, fieldRuntime, r.Runtime)
	body = appendString(body, fieldBundle, r.Bundle)
	body = appendMap(body, fieldPodAnnotations, r.PodAnnotations)
	body = appendString(body, fieldVersion, r.Version)
	body = appendNumber(body, fieldLate, number(r.Late))
	if r.Privileged != nil {
		// An optional field is there also when it is false.
		body = binary.AppendUvarint(body, uint64(fieldPrivileged)<<3|wireVarint)
		body = binary.AppendUvarint(body, number(*r.Privileged))
	}
	body = appendNumber(body, fieldSandbox, number(r.Sandbox))

	out := appendBytes(nil, fieldCreateContainer, body)
	if len(out) > MaxRequest {
		return nil, fmt.Errorf("%w: %d bytes, more than %d (annotations and mounts are too large)",
			ErrRequest, len(out), MaxRequest)
	}
	return out, nil
}

// MarshalRemoval encodes the tetragon.RuntimeHookRequest that tells that a container
// is gone, or is not made after all.
func MarshalRemoval(id string) []byte {
	return appendBytes(nil, fieldRemoveContainer, appendString(nil, fieldRemovedID, id))
}

// encodeMount encodes the API's Mount message.
func encodeMount(m Mount) []byte {
	b := appendString(nil, fieldMountDestination, m.Destination)
	b = appendString(b, fieldMountType, m.Type)
	b = appendString(b, fieldMountSource, m.Source)
	for _, option := range m.Options {
		b = appendBytes(b, fieldMountOptions, valid(option))
	}
	return b
}

// appendString appends a string field; proto3 leaves empty ones out.
func appendString(b []byte, f field, value string) []byte {
	if value == "" {
		return b
	}
	return appendBytes(b, f, valid(value))
}

// appendNumber appends a varint field; proto3 leaves zeroes out.
func appendNumber(b []byte, f field, value uint64) []byte {
	if value == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(f)<<3|wireVarint)
	return binary.AppendUvarint(b, value)
}

// number is how protobuf writes a bool.
func number(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// appendMap appends a map of strings in the order of its keys. Map entries
// always carry both fields, empty or not.
func appendMap(b []byte, f field, entries map[string]string) []byte {
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		entry := appendBytes(nil, fieldKey, valid(key))
		entry = appendBytes(entry, fieldValue, valid(entries[key]))
		b = appendBytes(b, f, entry)
	}
	return b
}

// appendBytes appends a field with a length: a string or an embedded message.
func appendBytes[T string | []byte](b []byte, f field, value T) []byte {
	b = binary.AppendUvarint(b, uint64(f)<<3|wireBytes)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

// valid returns the string as proto3 demands it. Strings out of JSON are valid
// already; a caller of Marshal may bring others, and a server refuses those.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
