// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/boltseal/boltseal/bpf"
)

const lanes = int(bpf.WireLimitsHASH_LANES)

// Keys is the secret of the string hash. The workload chooses the strings, so
// the keys are drawn anew at each start and stay in the agent and the kernel.
type Keys [bpf.WireLimitsHASH_KEYS]uint32

// NewKeys draws keys.
func NewKeys() *Keys {
	var raw [4 * len(Keys{})]byte
	rand.Read(raw[:]) // never fails
	var keys Keys
	for i := range keys {
		keys[i] = binary.LittleEndian.Uint32(raw[4*i:])
	}
	return &keys
}

// Hash is the hash of a string as bpf/lib/hash.h computes it: NH with
// Toeplitz-shifted keys, over words of 8 bytes, the last one filled with zeros.
// s has at most STRING_MAX - 1 bytes.
func (k *Keys) Hash(s string) (lane [lanes]uint64) {
	var word [8]byte
	for i := 0; 8*i < len(s); i++ {
		clear(word[:])
		copy(word[:], s[8*i:])
		lo, hi := binary.LittleEndian.Uint32(word[:]), binary.LittleEndian.Uint32(word[4:])
		for l := range lane {
			lane[l] += uint64(lo+k[2*i+2*l]) * uint64(hi+k[2*i+2*l+1])
		}
	}
	return lane
}
