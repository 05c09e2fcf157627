// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"strings"
	"testing"
)

func (c *Cache) neededLen() (n int) {
	for _, s := range c.slots {
		n += s.needed.Len()
	}
	return n
}

// A container whose births come and whose ends are lost takes what it needs from
// itself: neither from the processes of others, however long they do nothing, nor
// from the parents that these had.
func TestLostEndsTakeRoomFromNobodyElse(t *testing.T) {
	t.Parallel()
	const size, quiet, flooder = 200, 7, 8
	for name, flood := range map[string]func(n uint32) Info{
		"forks": func(n uint32) Info { return Info{Key: Key{Tgid: 1000 + n, Start: 300 * second}, Slot: flooder} },
		"execs of long arguments": func(n uint32) Info {
			return Info{
				Key: Key{Tgid: 1000 + n, Start: 300 * second}, Slot: flooder,
				Binary: strings.Repeat("b", 4000), Args: []string{strings.Repeat("a", 4000)},
			}
		},
	} {
		c, shell := withShell(Options{Size: size, Bytes: 100_000})
		first, _ := c.Get(initKey)
		own := []*Process{first, shell}
		for n := range uint32(20) {
			own = append(own, c.Fork(Info{Key: Key{Tgid: 200 + n, Start: 200 * second}, Parent: shellKey, Slot: quiet}))
		}
		// A parent that has ended, and whose child runs.
		c.Fork(Info{Key: Key{Tgid: 300, Start: 201 * second}, Parent: own[2].Key, Slot: quiet})
		c.Exit(295*second, Info{Key: own[2].Key})
		for n := range uint32(20 * size) {
			if i := flood(n); i.Binary == "" {
				c.Fork(i)
			} else {
				c.Exec(300*second, i)
			}
		}
		for _, want := range own {
			if got, ok := c.ByExecID(want.ExecID); !ok || got != want {
				t.Errorf("%s: a process of another container made room: %+v", name, want.Key)
			}
		}
		if s := c.Stats(); s.Size > size || s.Bytes > 100_000 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// Of containers with equally much each can have to make room, and the newest has not.
func TestRoomOfManyContainers(t *testing.T) {
	t.Parallel()
	const size = 10
	c := newCache(Options{Size: size})
	for n := range uint32(100) {
		i := Info{Key: Key{Tgid: n + 2, Start: second}, Slot: n + 2, Binary: strings.Repeat("x", int(n))}
		if p := c.Exec(second, i); c.byID[p.ExecID] == nil {
			t.Fatalf("process %d is not there", n)
		}
		if s := c.Stats(); s.Size > size || len(c.slots) > size {
			t.Fatalf("%+v of %d containers", s, len(c.slots))
		}
	}
}

// A process whose birth was lost is known by its ids, and by more once it executes
// something. Where an end was lost, the next of the pid is another process all the same.
func TestLostRecordsHeal(t *testing.T) {
	t.Parallel()
	c, _ := withShell(Options{})
	missed := c.Seen(Info{Key: childKey, Slot: 3})
	if missed.Flags != Miss {
		t.Errorf("flags of a process whose birth was lost: %q", missed.Flags)
	}
	healed := c.Exec(250*second, Info{Key: childKey, Parent: shellKey, Slot: 3, Binary: "/bin/ls", Cwd: "/"})
	if got, _ := c.Get(childKey); got != healed || healed.Flags&Miss != 0 || healed.Binary != "/bin/ls" {
		t.Errorf("after its exec: %+v", got)
	}
	// Its end is lost. The next of the pid is another process, with an end of its own.
	next := Key{Tgid: childKey.Tgid, Start: 400 * second}
	c.Fork(Info{Key: next, Parent: shellKey, Slot: 3})
	if p, first := c.Exit(401*second, Info{Key: next}); !first || p.Key != next {
		t.Errorf("end of the next: %+v, %v", p, first)
	}
	if p, first := c.Exit(402*second, Info{Key: next}); first {
		t.Errorf("second end of the next: %+v", p)
	}
}

func BenchmarkFloodOfLostEnds(b *testing.B) {
	for _, slots := range []uint32{1, 1000} {
		b.Run(fmt.Sprint(slots), func(b *testing.B) {
			c := newCache(Options{Size: 4096})
			for slot := range slots {
				c.Exec(second, Info{Key: Key{Tgid: slot + 2, Start: second}, Slot: slot + 2})
			}
			b.ReportAllocs()
			n := uint32(0)
			for b.Loop() {
				n++
				c.Fork(Info{Key: Key{Tgid: 100_000 + n, Start: 300 * second}, Slot: 1})
			}
		})
	}
}
