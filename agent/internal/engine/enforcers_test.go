// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/test/testenv"
)

// notify is a policy that leaves the opening of a file to an enforcer.
func notify(name, path, enforcer string, action policy.Action) *policy.Policy {
	action.Kind = policy.NotifyEnforcer
	const filename = 6 // after the common fields, the call's number and the directory
	return &policy.Policy{Name: name, Enforcers: []string{enforcer}, Hooks: []policy.Hook{{
		Section: policy.Tracepoints, Subsystem: "syscalls", Event: "sys_enter_openat",
		Args:      []policy.Arg{{Index: filename, Type: policy.ArgString}},
		Selectors: []policy.Selector{{Args: []policy.ArgFilter{strings1(policy.OpEqual, path)}, Actions: []policy.Action{action}}},
	}}}
}

// twoFiles makes a file that must not be opened and one that may.
func twoFiles(t testing.TB) (forbidden, allowed string) {
	t.Helper()
	dir := testenv.Dir(t)
	forbidden, allowed = filepath.Join(dir, "forbidden"), filepath.Join(dir, "allowed")
	for _, path := range []string{forbidden, allowed} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return forbidden, allowed
}

// What a rule asks of its policy's enforcers is done to the call that it matched,
// and to no other.
func TestEnforcersDeny(t *testing.T) {
	for _, c := range []struct {
		name, enforcer string
		needs          compile.Mechanism
		kind           compile.SiteKind
	}{
		{"security function", "security_file_open", compile.CanModifyReturn, compile.ModifyReturn},
		{"system call", "sys_openat", compile.CanModifySyscall, compile.ModifyReturn},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newProbedBench(t)
			testenv.Require(t, able(c.needs, b))
			forbidden, allowed := twoFiles(t)
			compiled, err := compile.Compile(notify("p", forbidden, c.enforcer, policy.Action{Error: -int32(unix.ENODATA)}), b.points)
			if err != nil {
				t.Fatal(err)
			}
			if h := compiled.Hooks[1]; h.Site.Kind != c.kind || h.Section != policy.Enforcers {
				t.Errorf("the enforcer is at %s, of %s", h.Site, h.Section)
			}
			id := b.load(compiled)
			// Another policy's enforcers have nothing to do with it.
			other, err := compile.Compile(notify("q", allowed+"x", c.enforcer, policy.Action{Error: -int32(unix.EXDEV)}), b.points)
			if err != nil {
				t.Fatal(err)
			}
			b.opens(forbidden, nil)
			b.apply(Member{id, true}, Member{b.load(other), true})
			b.opens(forbidden, unix.ENODATA)
			b.opens(allowed, nil)
			b.opens(forbidden, unix.ENODATA)
			if c.kind == compile.ModifyReturn && c.enforcer == "security_file_open" {
				b.opensNothing(forbidden)
				b.opens(allowed, nil) // what the last call left is not about this one
			}
			b.apply(Member{id, false})
			b.opens(forbidden, nil)
			b.apply()
			b.opens(forbidden, nil)
			got := b.counters(id)
			if got.Notify < 2 || got.MonitorNotify != 1 || got.Post != got.Notify+1 || got.Override != 0 {
				t.Errorf("counters %+v", got)
			}
			if e := b.event(); e == nil || e.strings[0] != forbidden || compile.Empty(e.Notified) {
				t.Errorf("event %+v, want one of %s that was left to enforcers", e, forbidden)
			}
		})
	}
}

// opensNothing looks a file up, without security_file_open being asked.
func (b *bench) opensNothing(path string) {
	b.t.Helper()
	fd, err := unix.Openat(unix.AT_FDCWD, path, unix.O_PATH, 0)
	if err != nil {
		b.t.Errorf("open %s for its path: %v", path, err)
		return
	}
	_ = unix.Close(fd)
}

func TestEnforcersSignal(t *testing.T) {
	b := newProbedBench(t)
	testenv.Require(t, able(compile.CanKprobe, b))
	b.maps.options.Agent = 0 // this process is signalled as any other
	forbidden, allowed := twoFiles(t)
	compiled, err := compile.Compile(notify("p", forbidden, "security_file_open", policy.Action{Signal: uint8(unix.SIGUSR1)}), b.points)
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan os.Signal, 8)
	signal.Notify(arrived, unix.SIGUSR1)
	defer signal.Stop(arrived)
	b.apply(Member{b.load(compiled), true})
	b.opens(allowed, nil)
	select {
	case s := <-arrived:
		t.Errorf("%v for a file that may be opened", s)
	default:
	}
	b.opens(forbidden, nil)
	select {
	case <-arrived:
	case <-time.After(5 * time.Second):
		t.Error("no signal")
	}
}

// Of policies with enforcers there is room for a few, and one more is refused.
func TestTooManyEnforcers(t *testing.T) {
	b := newProbedBench(t)
	testenv.Require(t, able(compile.CanKprobe, b))
	forbidden, _ := twoFiles(t)
	load := func() (PolicyID, error) {
		compiled, err := compile.Compile(notify("p", forbidden, "security_file_open", policy.Action{Signal: uint8(unix.SIGUSR1)}), b.points)
		if err != nil {
			t.Fatal(err)
		}
		return b.Load(compiled)
	}
	var ids []PolicyID
	for range compile.MaxNotices {
		id, err := load()
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if _, err := load(); !errors.Is(err, compile.ErrNoRoom) {
		t.Errorf("one more than %d: %v, want no room", compile.MaxNotices, err)
	}
	if err := b.Unload(ids[3]); err != nil {
		t.Fatal(err)
	}
	if _, err := load(); err != nil {
		t.Errorf("after one was deleted: %v", err)
	}
}
