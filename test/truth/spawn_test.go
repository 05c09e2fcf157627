// SPDX-License-Identifier: Apache-2.0

//go:build linux

package truth

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/truth/script"
)

// spawner is a program in which a process spawns others while one that has its
// descriptors forks orphans, who end when that one has ended, which does when the first
// has.
func spawner(f *files) *process {
	executed := func() *image {
		return &image{exec: &script.Exec{Path: []byte(f.performer), Args: [][]byte{[]byte("x")}}}
	}
	root := &process{first: true, images: []*image{{}, executed()}}
	spawning := &process{images: []*image{{}, executed()}}
	sharing := &process{birth: birth{flags: unix.CLONE_FILES}, images: []*image{{}}}
	for range 60 {
		orphan := &process{images: []*image{{}}}
		orphan.add(step{kind: script.Adopted, of: sharing}, step{kind: script.Exit})
		sharing.add(step{kind: script.Fork, of: orphan})
	}
	sharing.add(step{kind: script.Adopted, of: spawning}, step{kind: script.Exit})
	spawning.add(step{kind: script.Fork, of: sharing})
	for range 15 {
		spawned := &process{birth: birth{spawned: true}, images: []*image{{}, executed()}}
		spawned.add(step{kind: script.Exit})
		spawning.add(step{kind: script.Spawn, of: spawned})
	}
	spawning.add(step{kind: script.Exit})
	root.add(step{kind: script.Reaper}, step{kind: script.Fork, of: spawning}, step{kind: script.WaitAll}, step{kind: script.Exit})
	return root
}

// unable is a program in which a process waits for one whose exec fails.
func unable(f *files) *process {
	root := &process{first: true, images: []*image{{}, {exec: &script.Exec{Path: []byte(f.performer)}}}}
	child := &process{images: []*image{{}, {exec: &script.Exec{Path: []byte(f.bad[int(unix.ENOENT)])}}}}
	child.add(step{kind: script.Park})
	root.add(step{kind: script.Fork, of: child}, step{kind: script.Await, of: child, value: script.Parked},
		step{kind: script.Kill, of: child, value: uint64(unix.SIGKILL)}, step{kind: script.Wait, of: child}, step{kind: script.Exit})
	return root
}

// TestProgramsEnd: who spawns waits for none of those that have come to its descriptors,
// and nobody waits for what cannot come.
func TestProgramsEnd(t *testing.T) {
	testenv.Require(t, testenv.Root())
	s := newStage(t)
	for name, program := range map[string]func(*files) *process{"spawner": spawner, "unable": unable} {
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			p := s.perform(ctx, compile(name, program(s.files)), &home{name: "host"})
			cancel()
			if p.err != nil {
				t.Fatalf("%s: %.2000s", name, p.err)
			}
		}
	}
}
