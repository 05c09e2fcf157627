// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/attach"
	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// probed is what this kernel can do.
var probed = sync.OnceValue(func() kernel.Features { //nolint:gochecknoglobals // asked once, for it takes a second
	return kernel.Probe(context.Background(), kernel.Options{})
})

// newProbedBench is a bench whose policies use all that the kernel can do.
func newProbedBench(t testing.TB) *bench {
	t.Helper()
	testenv.Require(t, testenv.Root(), testenv.BPF(), testenv.BTF(), testenv.Tracefs())
	hooks, err := attach.Open(probed())
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, points: &points{Points: hooks}, marker: "/" + filepath.Base(testenv.Dir(t))}
	t.Cleanup(func() { _ = hooks.Close() })
	b.Engine = openBare(t, b.points)
	if b.ring, err = ringbuf.NewReader(b.maps.coll.Maps[bpf.SiteMapEvents]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.ring.Close() })
	return b
}

// able skips a test where the kernel cannot do what it is about.
func able(mechanism compile.Mechanism, b *bench) testenv.Feature {
	return testenv.Optional("mechanism", func() error { return b.points.Can(mechanism) })
}

var deny = []policy.Action{{Kind: policy.Override, Error: -int32(unix.ENODATA)}} //nolint:gochecknoglobals // never written

// Opening one file fails by every mechanism that can make it fail, and opening
// others does not.
func TestOpenIsDenied(t *testing.T) {
	file := []policy.Arg{{Index: 0, Type: policy.ArgFile}}
	for _, c := range []struct {
		name   string
		needs  compile.Mechanism
		kind   compile.SiteKind
		method policy.OverrideMethod
		hook   policy.Hook
	}{
		{"lsm", compile.CanLSM, compile.LSM, "", policy.Hook{Section: policy.LSMHooks, Calls: []string{"file_open"}, Args: file}},
		{"fmod_ret", compile.CanModifyReturn, compile.ModifyReturn, "", policy.Hook{Section: policy.Kprobes, Calls: []string{"security_file_open"}, Args: file}},
		{"syscall", compile.CanModifySyscall, compile.ModifyReturn, "", policy.Hook{
			Section: policy.Kprobes, Calls: []string{"sys_openat"}, Syscall: true, Args: []policy.Arg{{Index: 1, Type: policy.ArgString}},
		}},
		{"override", compile.CanOverride, compile.KprobeOverride, policy.OverrideReturn, policy.Hook{
			Section: policy.Kprobes, Calls: []string{"sys_openat"}, Syscall: true, Args: []policy.Arg{{Index: 1, Type: policy.ArgString}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newProbedBench(t)
			testenv.Require(t, able(c.needs, b))
			dir := testenv.Dir(t)
			forbidden, allowed := filepath.Join(dir, "forbidden"), filepath.Join(dir, "allowed")
			for _, path := range []string{forbidden, allowed} {
				if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c.hook.Selectors = []policy.Selector{{Args: []policy.ArgFilter{strings1(policy.OpEqual, forbidden)}, Actions: deny}}
			compiled, err := compile.Compile(&policy.Policy{
				Name: "p", Hooks: []policy.Hook{c.hook}, Options: policy.Options{OverrideMethod: c.method},
			}, b.points)
			if err != nil {
				t.Fatal(err)
			}
			if kind := compiled.Hooks[0].Site.Kind; kind != c.kind {
				t.Errorf("the mechanism is %s, want %s", kind, c.kind)
			}
			id := b.load(compiled)
			b.opens(forbidden, nil)
			b.apply(Member{id, true})
			b.opens(forbidden, unix.ENODATA)
			b.opens(allowed, nil)
			if err := os.WriteFile(forbidden, nil, 0o600); !errors.Is(err, unix.ENODATA) {
				t.Errorf("truncate: %v", err)
			}
			b.apply(Member{id, false})
			b.opens(forbidden, nil)
			if text, err := os.ReadFile(forbidden); err != nil || string(text) != "content" {
				t.Errorf("the file that could not be opened has %q (%v)", text, err)
			}
			b.apply(Member{id, true})
			b.opens(forbidden, unix.ENODATA)
			b.apply()
			b.opens(forbidden, nil)
			if got, want := b.counters(id), (Counters{Post: 5, Override: 3, MonitorOverride: 2}); got != want {
				t.Errorf("counters %+v, want %+v", got, want)
			}
			for i, overridden := range []bool{true, true, false, false, true} {
				e := b.event()
				if e == nil {
					t.Fatalf("event %d is missing", i)
				}
				if e.strings[0] != forbidden || compile.Empty(e.Overridden) == overridden {
					t.Errorf("event %d about %q, overridden %v, want %v", i, e.strings[0], e.Overridden, overridden)
				}
			}
		})
	}
}

// opens opens a file and checks how that ends.
func (b *bench) opens(path string, want error) {
	b.t.Helper()
	f, err := os.OpenFile(path, os.O_RDONLY, 0)
	if err == nil {
		err = f.Close()
	}
	var at *fs.PathError
	if want == nil && err != nil || want != nil && (!errors.As(err, &at) || !errors.Is(at.Err, want)) {
		b.t.Errorf("open %s: %v, want %v", path, err, want)
	}
}

// Functions report, by kprobes and trampolines.
func TestFunctionsAreSeen(t *testing.T) {
	file := []policy.Arg{{Index: 0, Type: policy.ArgFile}}
	for _, c := range []struct {
		name  string
		needs compile.Mechanism
		hook  policy.Hook
	}{
		{"kprobe", compile.CanKprobe, policy.Hook{Section: policy.Kprobes, Calls: []string{"security_file_open"}, Args: file}},
		{"fentry", compile.CanFentry, policy.Hook{Section: policy.Fentries, Calls: []string{"security_file_open"}, Args: file}},
		{"syscall", compile.CanKprobe, policy.Hook{
			Section: policy.Kprobes, Calls: []string{"sys_openat", "sys_open"}, Syscall: true, Args: []policy.Arg{{Index: 1, Type: policy.ArgString}},
		}},
		{"function with a path", compile.CanKprobe, policy.Hook{
			Section: policy.Kprobes, Calls: []string{"security_path_chmod"}, Args: []policy.Arg{{Index: 0, Type: policy.ArgPath}, {Index: 1, Type: policy.ArgUint16}},
		}},
		{"dentry", compile.CanKprobe, policy.Hook{
			Section: policy.Kprobes, Calls: []string{"security_inode_getattr"}, Args: []policy.Arg{{Index: 0, Type: policy.ArgPath}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newProbedBench(t)
			testenv.Require(t, able(c.needs, b))
			path := filepath.Join(testenv.Dir(t), "file")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			c.hook.Selectors = []policy.Selector{{
				Args:    []policy.ArgFilter{{Op: policy.OpEqual, Values: []string{path}, Strings: []string{path}}},
				Actions: []policy.Action{{Kind: policy.Post}},
			}}
			compiled, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{c.hook}}, b.points)
			if err != nil {
				t.Fatal(err)
			}
			id := b.load(compiled)
			b.apply(Member{id, true})
			b.opens(path, nil)
			if err := os.Chmod(path, 0o640); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(path); err != nil {
				t.Error(err)
			}
			if got := b.counters(id); got.Post == 0 {
				t.Errorf("counters %+v: nothing was seen", got)
			}
			if e := b.event(); e == nil || e.strings[0] != path {
				t.Errorf("event %+v, want one of %s", e, path)
			}
		})
	}
}
