// SPDX-License-Identifier: Apache-2.0

package stacktree

import (
	"encoding/binary"
	"maps"
	"slices"
	"sync"
)

// Other is the label of what there was no room for.
const Other = "<other>"

// Bounds of what is kept.
const (
	maxBytes  = 32 << 20
	maxStacks = 1024 // of one policy
	maxLabels = 32   // of one stack
	maxLabel  = 256  // bytes
)

// About what a stack and a label take beside their bytes: structs and map entries.
const (
	stackBytes = 256
	labelBytes = 64
)

// Trees is the stacks of policies. The zero Trees is ready for use; it is safe for
// concurrent use and must not be copied.
type Trees struct {
	mu    sync.Mutex
	byKey map[string]*counts
	bytes int
	// packed is the addresses of the stack that is looked up.
	packed []byte
}

// counts is the stacks of a policy.
type counts struct {
	all, other uint64
	stacks     map[string]*counted
	bytes      int
}

// counted is one stack.
type counted struct {
	// addresses are innermost first.
	addresses []uint64
	labels    map[string]uint64
}

// Record counts a stack, innermost address first, of an event of the policy with a key.
func (t *Trees) Record(key string, stack []uint64, label string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.byKey[key]
	if of == nil {
		if of = (&counts{stacks: map[string]*counted{}}); !t.take(of, stackBytes+len(key)) {
			return
		}
		if t.byKey == nil {
			t.byKey = map[string]*counts{}
		}
		t.byKey[key] = of
	}
	of.all++
	t.packed = t.packed[:0]
	for _, address := range stack {
		t.packed = binary.NativeEndian.AppendUint64(t.packed, address)
	}
	c := of.stacks[string(t.packed)]
	if c == nil {
		if len(of.stacks) >= maxStacks || !t.take(of, stackBytes+2*len(t.packed)) {
			of.other++
			return
		}
		c = &counted{addresses: slices.Clone(stack), labels: map[string]uint64{}}
		of.stacks[string(t.packed)] = c
	}
	c.count(label, func(bytes int) bool { return t.take(of, bytes) })
}

func (c *counted) count(label string, take func(bytes int) bool) {
	label = label[:min(maxLabel, len(label))]
	if _, known := c.labels[label]; !known && (len(c.labels) >= maxLabels || !take(labelBytes+len(label))) {
		label = Other
	}
	c.labels[label]++
}

// take reserves memory for a policy's stacks if there is so much left.
func (t *Trees) take(of *counts, bytes int) bool {
	if t.bytes+bytes > maxBytes {
		return false
	}
	t.bytes += bytes
	of.bytes += bytes
	return true
}

// Forget drops the stacks of the policy with a key.
func (t *Trees) Forget(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if of := t.byKey[key]; of != nil {
		t.bytes -= of.bytes
		delete(t.byKey, key)
	}
}

// snapshot is a copy of the stacks of a policy.
func (t *Trees) snapshot(key string) (all, other uint64, stacks []counted) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.byKey[key]
	if of == nil {
		return 0, 0, nil
	}
	for _, c := range of.stacks {
		// Addresses never change.
		stacks = append(stacks, counted{c.addresses, maps.Clone(c.labels)})
	}
	return of.all, of.other, stacks
}
