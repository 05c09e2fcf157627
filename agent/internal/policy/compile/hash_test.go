// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// nh is NH of RFC 4418, section 5.2.2, for one lane, word by word: pairs of
// 32-bit numbers, each increased by its key modulo 2^32, multiplied, and summed
// modulo 2^64. The message is filled with zeros to whole pairs.
func nh(keys []uint32, message string) uint64 {
	padded := append([]byte(message), make([]byte, (8-len(message)%8)%8)...)
	sum := uint64(0)
	for i := 0; i < len(padded)/4; i += 2 {
		a := binary.LittleEndian.Uint32(padded[4*i:]) + keys[i]
		b := binary.LittleEndian.Uint32(padded[4*i+4:]) + keys[i+1]
		sum += uint64(a) * uint64(b)
	}
	return sum
}

func TestHashIsNHWithShiftedKeys(t *testing.T) {
	t.Parallel()
	keys := compile.NewKeys()
	for n := range 4096 {
		message := strings.Repeat("all work and no play ", 200)[n%7:][:n]
		got := keys.Hash(message)
		for lane := range got {
			if want := nh(keys[2*lane:], message); got[lane] != want {
				t.Fatalf("lane %d of %d bytes: %#x, want %#x", lane, n, got[lane], want)
			}
		}
	}
}

// Known answers, worked out by hand from small keys: key i is i+1.
func TestHashKnownAnswers(t *testing.T) {
	t.Parallel()
	var keys compile.Keys
	for i := range keys {
		keys[i] = uint32(i + 1)
	}
	for message, want := range map[string][3]uint64{
		"": {},
		// (0x61+1)*(0+2), (0x61+3)*(0+4), (0x61+5)*(0+6)
		"a": {0xc4, 0x190, 0x264},
		// (1+1)*(2+2), (1+3)*(2+4), (1+5)*(2+6)
		"\x01\x00\x00\x00\x02": {8, 24, 48},
		// The low half wraps: (0xffffffff+1)*..., (0xffffffff+3)*(1+4), (0xffffffff+5)*(1+6)
		"\xff\xff\xff\xff\x01": {0, 10, 28},
		// Two words: the second has the keys 3, 4 in the first lane, and so on.
		"\x01\x00\x00\x00\x02\x00\x00\x00\x01": {8 + 4*4, 24 + 6*6, 48 + 8*8},
	} {
		if got := keys.Hash(message); got != want {
			t.Errorf("hash of %q: %v, want %v", message, got, want)
		}
	}
}

func TestKeysAreDrawnAnew(t *testing.T) {
	t.Parallel()
	a, b := compile.NewKeys(), compile.NewKeys()
	same := 0
	for i := range a {
		if a[i] == b[i] {
			same++
		}
	}
	if same > 3 {
		t.Errorf("%d of %d keys are the same in two draws", same, len(a))
	}
}
