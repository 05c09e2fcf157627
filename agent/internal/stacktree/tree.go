// SPDX-License-Identifier: Apache-2.0

package stacktree

import (
	"cmp"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Frame is one function of a stack.
type Frame struct {
	// Address is where the function goes on; 0 where addresses are hidden.
	Address uint64
	// Symbol names the function; empty where that is not known.
	Symbol string
}

// node is a function of the tree.
type node struct {
	Frame
	count    uint64
	labels   map[string]uint64
	children map[Frame]*node
}

// Tree is the stacks of the policy with a key, which name names, innermost frame
// first; it may leave frames out. Stacks are one where their frames are. What has the
// highest count comes first.
func (t *Trees) Tree(key string, name func(stack []uint64) []Frame) *tetragon.StackTraceNode {
	all, other, stacks := t.snapshot(key)
	root := &node{}
	for _, of := range stacks {
		at := root
		frames := name(of.addresses)
		count := uint64(0)
		for _, n := range of.labels {
			count += n
		}
		for _, f := range slices.Backward(frames) {
			at = at.child(f)
			at.count += count
		}
		for label, n := range of.labels {
			at.label(label, n)
		}
	}
	root.count = all
	if other > 0 {
		root.label(Other, other)
	}
	m := root.message()
	m.Address = nil
	return m
}

func (n *node) child(f Frame) *node {
	if n.children == nil {
		n.children = map[Frame]*node{}
	}
	if n.children[f] == nil {
		n.children[f] = &node{Frame: f}
	}
	return n.children[f]
}

func (n *node) label(label string, count uint64) {
	if n.labels == nil {
		n.labels = map[string]uint64{}
	}
	n.labels[label] += count
}

func (n *node) message() *tetragon.StackTraceNode {
	m := &tetragon.StackTraceNode{
		Address: &tetragon.StackAddress{Address: n.Address, Symbol: valid(n.Symbol)}, Count: n.count,
	}
	for label, count := range n.labels {
		m.Labels = append(m.Labels, &tetragon.StackTraceLabel{Key: valid(label), Count: count})
	}
	slices.SortFunc(m.Labels, func(a, b *tetragon.StackTraceLabel) int {
		return cmp.Or(cmp.Compare(b.GetCount(), a.GetCount()), cmp.Compare(a.GetKey(), b.GetKey()))
	})
	children := make([]*node, 0, len(n.children))
	for _, c := range n.children {
		children = append(children, c)
	}
	slices.SortFunc(children, func(a, b *node) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.Address, b.Address))
	})
	for _, c := range children {
		m.Children = append(m.Children, c.message())
	}
	return m
}

// valid is text that protobuf takes.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
