// SPDX-License-Identifier: Apache-2.0

package stacktree

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// named names an address by its number; those below 10 are left out.
func named(stack []uint64) []Frame {
	var out []Frame
	for _, a := range stack {
		if a >= 10 {
			out = append(out, Frame{Symbol: fmt.Sprint("f", a/10)}) // 10 to 19 are places in one function
		}
	}
	return out
}

// text writes a tree on one line: function=count[labels](children).
func text(n *tetragon.StackTraceNode) string {
	var b strings.Builder
	if n.GetAddress() != nil {
		fmt.Fprintf(&b, "%s", n.GetAddress().GetSymbol())
	}
	fmt.Fprintf(&b, "=%d", n.GetCount())
	for _, l := range n.GetLabels() {
		fmt.Fprintf(&b, "[%s %d]", l.GetKey(), l.GetCount())
	}
	for _, c := range n.GetChildren() {
		fmt.Fprintf(&b, "(%s)", text(c))
	}
	return b.String()
}

func TestTree(t *testing.T) {
	t.Parallel()
	var trees Trees
	if got := text(trees.Tree("p", named)); got != "=0" {
		t.Errorf("of nothing: %s", got)
	}
	for range 2 {
		trees.Record("p", []uint64{5, 30, 20, 10}, "/a")
	}
	trees.Record("p", []uint64{30, 20, 11}, "/b") // the same functions
	trees.Record("p", []uint64{40, 20, 10}, "/b")
	trees.Record("p", []uint64{20, 10}, "/c\xff")
	trees.Record("p", []uint64{50}, "/a")
	trees.Record("p", []uint64{5}, "/d")
	trees.Record("q", []uint64{60}, "/a")
	want := "=7[/d 1](f1=5(f2=5[/c\uFFFD 1](f3=3[/a 2][/b 1])(f4=1[/b 1])))(f5=1[/a 1])"
	if got := text(trees.Tree("p", named)); got != want {
		t.Errorf("tree %s, want %s", got, want)
	}
	if got := text(trees.Tree("q", named)); got != "=1(f6=1[/a 1])" {
		t.Errorf("of another policy: %s", got)
	}
	trees.Forget("p")
	trees.Forget("none")
	if got := text(trees.Tree("p", named)); got != "=0" {
		t.Errorf("forgotten: %s", got)
	}
	trees.Forget("q")
	if trees.bytes != 0 {
		t.Errorf("%d bytes are left of nothing", trees.bytes)
	}
}

// TestAddressesTellPlacesApart: where they are shown, two places of one function are
// two, and a place without a name is not the root.
func TestAddressesTellPlacesApart(t *testing.T) {
	t.Parallel()
	var trees Trees
	trees.Record("p", []uint64{11}, "")
	trees.Record("p", []uint64{12}, "")
	trees.Record("p", []uint64{0}, "")
	root := trees.Tree("p", func(stack []uint64) []Frame {
		if stack[0] == 0 {
			return []Frame{{}}
		}
		return []Frame{{Address: stack[0], Symbol: "f"}}
	})
	if root.GetAddress() != nil || len(root.GetChildren()) != 3 {
		t.Fatalf("%v", root)
	}
	for i, want := range []uint64{0, 11, 12} { // by name, then address
		if c := root.GetChildren()[i]; c.GetAddress() == nil || c.GetAddress().GetAddress() != want {
			t.Errorf("child %d: %v, want %d", i, c, want)
		}
	}
}

// check holds what has to be true of any tree: a function's stacks are those that
// end in it and those that go on.
func check(t *testing.T, n *tetragon.StackTraceNode) {
	t.Helper()
	sum := uint64(0)
	for _, l := range n.GetLabels() {
		sum += l.GetCount()
	}
	for _, c := range n.GetChildren() {
		check(t, c)
		sum += c.GetCount()
	}
	if sum != n.GetCount() {
		t.Errorf("%s: %d stacks end in it or go on, of %d", n.GetAddress(), sum, n.GetCount())
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	var trees Trees
	const many = 4 * maxStacks
	for i := range uint64(many) {
		trees.Record("stacks", []uint64{10 * i, 10}, "/x")
		trees.Record("labels", []uint64{10}, fmt.Sprint(i))
		trees.Record("long", []uint64{10}, strings.Repeat("x", 4000)+fmt.Sprint(i))
	}
	if n := len(trees.byKey["stacks"].stacks); n != maxStacks {
		t.Errorf("%d stacks", n)
	}
	root := trees.Tree("stacks", named)
	if l := root.GetLabels(); root.GetCount() != many || !slices.ContainsFunc(l, func(l *tetragon.StackTraceLabel) bool { return l.GetKey() == Other && l.GetCount() == many-maxStacks }) {
		t.Errorf("%d stacks, labels %v", root.GetCount(), l)
	}
	check(t, root)
	labels := trees.Tree("labels", named).GetChildren()[0].GetLabels()
	if len(labels) != maxLabels+1 || labels[0].GetKey() != Other || labels[0].GetCount() != many-maxLabels {
		t.Errorf("%d labels, the first of them %v", len(labels), labels[0])
	}
	if l := trees.Tree("long", named).GetChildren()[0].GetLabels(); len(l) != 1 || len(l[0].GetKey()) != maxLabel {
		t.Errorf("long labels: %v", l)
	}
	deep := make([]uint64, 127)
	for i := range uint64(1 << 15) {
		deep[0] = i
		trees.Record(fmt.Sprint(i/maxStacks), deep, "/x")
	}
	if trees.bytes > maxBytes {
		t.Errorf("%d bytes", trees.bytes)
	}
	sum := 0
	for _, of := range trees.byKey {
		sum += of.bytes
	}
	if sum != trees.bytes {
		t.Errorf("%d bytes are said to be in use, %d are", trees.bytes, sum)
	}
}

// TestRandomTrees records at random, from several goroutines, and compares with plain
// counting.
func TestRandomTrees(t *testing.T) {
	t.Parallel()
	var trees Trees
	var mu sync.Mutex
	want := map[string]uint64{} // by path and label
	var all sync.WaitGroup
	for seed := range uint64(4) {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for range 2000 {
				stack := make([]uint64, 1+r.IntN(4))
				path := ""
				for i := range stack {
					stack[i] = 10 * (1 + r.Uint64N(3))
				}
				for _, a := range slices.Backward(stack) {
					path += fmt.Sprint(" f", a/10)
				}
				label := fmt.Sprint("/", r.IntN(3))
				mu.Lock()
				want[path+" "+label]++
				mu.Unlock()
				trees.Record("p", stack, label)
				if r.IntN(100) == 0 {
					check(t, trees.Tree("p", named))
				}
			}
		})
	}
	all.Wait()
	got := map[string]uint64{}
	var walk func(path string, n *tetragon.StackTraceNode)
	walk = func(path string, n *tetragon.StackTraceNode) {
		for _, l := range n.GetLabels() {
			got[path+" "+l.GetKey()] += l.GetCount()
		}
		for _, c := range n.GetChildren() {
			walk(path+" "+c.GetAddress().GetSymbol(), c)
		}
	}
	root := trees.Tree("p", named)
	walk("", root)
	if len(got) != len(want) {
		t.Errorf("%d paths and labels, want %d", len(got), len(want))
	}
	for at, n := range want {
		if got[at] != n {
			t.Errorf("%s: %d, want %d", at, got[at], n)
		}
	}
	if raw, err := proto.Marshal(root); err != nil || len(raw) == 0 {
		t.Errorf("marshal: %v", err)
	}
}

// BenchmarkRecord is what an event with a stack costs, which one without does not.
func BenchmarkRecord(b *testing.B) {
	var trees Trees
	stack := make([]uint64, 24)
	for i := range stack {
		stack[i] = uint64(i) << 32
	}
	b.ReportAllocs()
	for i := range b.N {
		stack[0] = uint64(i % 64)
		trees.Record("policy", stack, "/usr/bin/cat")
	}
}
