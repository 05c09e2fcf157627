// SPDX-License-Identifier: Apache-2.0

package throttle

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/boltseal/boltseal/bpf"
)

const (
	ms     = uint64(time.Millisecond)
	second = uint64(time.Second)
	host   = uint32(bpf.WireReservedSlotsSLOT_HOST)
)

// limited is a limiter of three events a second with what it told.
func limited() (l *Limiter, told *[]string) {
	told = &[]string{}
	return New(Rate{Events: 3, Interval: time.Second}, func(c Change) {
		word := "stop"
		if c.Began {
			word = "start"
		}
		*told = append(*told, fmt.Sprintf("%s %d/%d at %d", word, c.Slot, c.Cgroup, c.At/ms))
	}), told
}

// passed counts events at times in ms, and is which of them passed.
func passed(l *Limiter, slot uint32, cgroup uint64, times ...uint64) (told []uint64) {
	for _, at := range times {
		if l.Passes(slot, cgroup, at*ms) {
			told = append(told, at)
		}
	}
	return told
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestThrottling(t *testing.T) {
	t.Parallel()
	l, told := limited()
	// As many as may be, in each interval.
	check(t, "at the rate", passed(l, 5, 50, 1, 2, 3, 1001, 1002, 1003, 5000), []uint64{1, 2, 3, 1001, 1002, 1003, 5000})
	check(t, "told", *told, []string{})
	check(t, "above it", passed(l, 5, 50, 6000, 6001, 6002, 6003, 6004), []uint64{6000, 6001, 6002})
	check(t, "told", *told, []string{"start 5/50 at 6003"})
	// Until it has kept to the rate for five seconds nothing is told of it.
	check(t, "below it, not for long", passed(l, 5, 50, 7004, 8100, 11003), []uint64(nil))
	check(t, "below it for long", passed(l, 5, 50, 11004, 11005), []uint64{11004, 11005})
	check(t, "told", *told, []string{"start 5/50 at 6003", "stop 5/50 at 11004"})
	check(t, "left out", l.LeftOut(5), 5)
	l.Count(5, 50, 12_500*ms)
	check(t, "left out", l.LeftOut(5), 5)
	l.Count(5, 50, 20_000*ms)
	check(t, "above it again", passed(l, 5, 50, 20001, 20002, 20003), []uint64{20001, 20002})
	check(t, "told", (*told)[2:], []string{"start 5/50 at 20003"})
}

func TestWhoSharesARate(t *testing.T) {
	t.Parallel()
	l, told := limited()
	check(t, "a container of many cgroups", passed(l, 5, 1, 1, 2), []uint64{1, 2})
	check(t, "a container of many cgroups", passed(l, 5, 2, 3, 4), []uint64{3})
	check(t, "another container", passed(l, 6, 1, 1, 2, 3), []uint64{1, 2, 3})
	check(t, "a cgroup of none", passed(l, host, 1, 1, 2, 3), []uint64{1, 2, 3})
	check(t, "another of none", passed(l, host, 2, 1, 2, 3, 4), []uint64{1, 2, 3})
	check(t, "told", *told, []string{"start 5/2 at 4", "start 0/2 at 4"})
	check(t, "left out", []uint64{l.LeftOut(5), l.LeftOut(6), l.LeftOut(host)}, []uint64{1, 0, 1})
}

func TestSweepEndsTheSilent(t *testing.T) {
	t.Parallel()
	l, told := limited()
	passed(l, 5, 50, 1, 2, 3, 4)
	passed(l, 6, 60, 1)
	l.Sweep(5003 * ms)
	check(t, "told", *told, []string{"start 5/50 at 4"})
	check(t, "counted", len(l.groups), 1)
	l.Sweep(5004 * ms)
	check(t, "told", *told, []string{"start 5/50 at 4", "stop 5/50 at 5004"})
	l.Sweep(5005 * ms)
	check(t, "counted", len(l.groups), 0)
	check(t, "told", len(*told), 2)
}

func TestForgetIsTheEnd(t *testing.T) {
	t.Parallel()
	l, told := limited()
	passed(l, 5, 50, 1, 2, 3, 4)
	l.Forget(5, 10*ms)
	l.Forget(6, 10*ms)
	check(t, "told", *told, []string{"start 5/50 at 4", "stop 5/50 at 10"})
	check(t, "left out", l.LeftOut(5), 0)
	check(t, "the next of the slot", passed(l, 5, 51, 11, 12, 13), []uint64{11, 12, 13})
}

// Events of different CPUs are not in order.
func TestTimesOutOfOrder(t *testing.T) {
	t.Parallel()
	l, told := limited()
	check(t, "an earlier event", passed(l, 5, 50, 1000, 999, 1001, 998), []uint64{1000, 999, 1001})
	check(t, "one long before", passed(l, 5, 50, 1), []uint64(nil))
	l.Sweep(5500 * ms)
	check(t, "told", *told, []string{"start 5/50 at 998"})
}

func TestCountsAreBounded(t *testing.T) {
	t.Parallel()
	l, told := limited()
	for i := range uint64(3 * maxGroups) {
		if !l.Passes(host, i+1, second) {
			t.Fatalf("the first event of cgroup %d is left out", i)
		}
		if len(l.groups) > maxGroups {
			t.Fatalf("%d cgroups are counted", len(l.groups))
		}
	}
	// Those that are throttled stay so.
	passed(l, 5, 50, 1, 2, 3, 4)
	for i := range uint64(2 * maxGroups) {
		l.Passes(host, i+1, second)
	}
	if l.Passes(5, 50, 5*ms) || !slices.Equal(*told, []string{"start 5/50 at 4"}) {
		t.Errorf("told %v", *told)
	}
}

func BenchmarkPasses(b *testing.B) {
	l, _ := limited()
	b.ReportAllocs()
	at := uint64(0)
	for b.Loop() {
		at += 100_000
		l.Passes(5+uint32(at/100_000%64), 50, at)
	}
}
