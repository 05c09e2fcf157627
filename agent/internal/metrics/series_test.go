// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/bpf"
)

// clock is a clock that a test moves.
func clock(m *Metrics) (pass func(time.Duration)) {
	now := time.Now()
	m.groups.now = func() time.Time { return now }
	return func(d time.Duration) { now = now.Add(d) }
}

// TestFloodOfBinaries: a workload that executes another binary each time takes its
// share of the label sets, loses no count, and no other workload loses its place.
func TestFloodOfBinaries(t *testing.T) {
	t.Parallel()
	a := newAgent()
	m := measured(t, a)
	a.put(t, of("a", 2))
	a.put(t, of("b", 3))
	const flood = 10_000
	for i := range uint32(flood) {
		m.Count(exec(i, 2, fmt.Sprintf("/%s\xff\n%d", strings.Repeat("long", 1000), i)))
		m.Count(exit(i, 2))
	}
	m.Count(exec(flood, 3, "/bin/quiet"))
	got := scraped(t, m)
	if got := got.sum("boltseal_events_total"); got != 2*flood+1 {
		t.Errorf("%v events, want %d", got, 2*flood+1)
	}
	if got := len(got["boltseal_events_total"].GetMetric()); got > share+3 {
		t.Errorf("%d label sets, want at most %d", got, share+3)
	}
	const name = `container="a",namespace="ns",pod="web-5d9c-a",type="PROCESS_EXEC",workload="web"`
	values := got.values("boltseal_events_total")
	if rest := values[`binary="other",`+name]; rest < flood-share {
		t.Errorf("%v are of no binary", rest)
	}
	if values[`binary="/bin/quiet",container="b",namespace="ns",pod="web-5d9c-b",type="PROCESS_EXEC",workload="web"`] != 1 {
		t.Error("the quiet workload has lost its place")
	}
	if len(m.count.processes) > maxProcesses || len(m.count.subjects) > maxSubjects {
		t.Errorf("kept %d processes and %d subjects", len(m.count.processes), len(m.count.subjects))
	}
	if got := got.values("boltseal_label_sets_refused_total")[`metric="boltseal_events_total"`]; got < flood-share {
		t.Errorf("refused %v label sets", got)
	}
}

// TestFloodOfContainers: more workloads than label sets are counted together.
func TestFloodOfContainers(t *testing.T) {
	t.Parallel()
	a := newAgent()
	a.lost = make([]uint64, 3*MaxLabelSets)
	m := measured(t, a)
	const flood = 2 * MaxLabelSets
	for i := range uint32(flood) {
		c := of(fmt.Sprintf("c%d\xff%s", i, strings.Repeat("\x80", 300)), 2+i)
		c.Name = fmt.Sprintf("%d\xfe%s", i, strings.Repeat("\x80", 300))
		a.put(t, c)
		m.Count(exec(i, c.Slot, "/bin/sh"))
		a.lost[c.Slot] = 1
	}
	got := scraped(t, m)
	for _, name := range []string{"boltseal_events_total", "boltseal_container_events_lost_total"} {
		if sets := len(got[name].GetMetric()); got.sum(name) != flood || sets != MaxLabelSets+1 {
			t.Errorf("%s: %v in %d label sets", name, got.sum(name), sets)
		}
	}
	rest := got.values("boltseal_events_total")[`binary="other",container="other",namespace="other",pod="other",type="PROCESS_EXEC",workload="other"`]
	if rest != flood-MaxLabelSets {
		t.Errorf("%v are of no workload", rest)
	}
}

// TestOtherIsANameLikeAnother: a workload of the name that stands for those without
// room costs nobody the scrape.
func TestOtherIsANameLikeAnother(t *testing.T) {
	t.Parallel()
	a := newAgent()
	m := measured(t, a, func(o *Options) { o.Labels = []string{"container", "binary"} })
	for i := range uint32(MaxLabelSets + 1) {
		a.put(t, of(fmt.Sprint("c", i), 10+i))
		m.Count(exec(i, 10+i, "/bin/sh"))
		if i == MaxLabelSets/2 {
			a.put(t, of("other", 9))
			m.Count(exec(i, 9, "other"))
		}
	}
	if got := scraped(t, m).values("boltseal_events_total")[`binary="other",container="other",type="PROCESS_EXEC"`]; got != 3 {
		t.Errorf("%v events of others, want 3", got)
	}
}

// TestSeriesEndWithTheirWorkload: the series of a workload stay while one of its
// containers lives and for a grace after; then they are gone, and a namesake begins
// anew.
func TestSeriesEndWithTheirWorkload(t *testing.T) {
	t.Parallel()
	a := newAgent()
	m := measured(t, a, func(o *Options) { o.Labels = []string{"workload"} })
	pass := clock(m)
	lost := func() int { return len(scraped(t, m)["boltseal_container_events_lost_total"].GetMetric()) }
	events := func() (n float64) {
		return scraped(t, m).values("boltseal_events_total")[`type="PROCESS_EXEC",workload="web"`]
	}
	a.put(t, of("a", 2))
	a.put(t, of("b", 3))
	a.lost[2] = 7
	m.Count(exec(1, 2, "/x"))
	m.Count(exec(2, 3, "/x"))
	if lost() != 1 || events() != 2 {
		t.Fatalf("%d series of lost events, %v events", lost(), events())
	}
	a.remove(t, "a")
	pass(2 * time.Minute)
	if lost() != 1 || events() != 2 {
		t.Errorf("one of two containers has gone: %d series, %v events", lost(), events())
	}
	a.remove(t, "b")
	pass(30 * time.Second)
	m.Count(exec(3, 3, "/x")) // late
	if events() != 3 {
		t.Errorf("within the grace: %v events", events())
	}
	pass(2 * time.Minute)
	if lost() != 0 || events() != 0 {
		t.Errorf("after the grace: %d series, %v events", lost(), events())
	}
	if len(m.groups.all) != 1 || len(m.groups.ending) != 0 {
		t.Errorf("left %d groups, %d of them ending", len(m.groups.all), len(m.groups.ending))
	}
	a.put(t, of("c", 3))
	m.Count(exec(1, 3, "/x"))
	if events() != 1 {
		t.Errorf("a namesake has %v events, want 1", events())
	}
}

// TestWorkloadsThatNobodyScrapesEnd: it is the next container that ends them.
func TestWorkloadsThatNobodyScrapesEnd(t *testing.T) {
	t.Parallel()
	a := newAgent()
	m := measured(t, a)
	pass := clock(m)
	for i := range 100 {
		id := fmt.Sprint("c", i)
		a.put(t, of(id, 2))
		m.Count(exec(uint32(i), 2, "/x"))
		a.remove(t, id)
		a.Forget(time.Now().Add(time.Hour))
		pass(time.Minute)
	}
	if len(m.groups.all) > 3 || len(m.events.sets) > 3 {
		t.Errorf("kept %d groups and %d series", len(m.groups.all), len(m.events.sets))
	}
}

// TestNamesThatBecomeKnown: a container that was known by its cgroup alone is counted
// by its name from when that is known.
func TestNamesThatBecomeKnown(t *testing.T) {
	t.Parallel()
	a := newAgent()
	m := measured(t, a, func(o *Options) { o.Labels = []string{"container"} })
	guess := &container.Container{ID: "a", Name: "0123", Slot: 2, CgroupID: 5}
	a.put(t, guess)
	m.Count(exec(1, 2, "/x"))
	known := *guess
	known.Name = "web"
	a.put(t, &known)
	m.Count(exit(1, 2))
	got := scraped(t, m).values("boltseal_events_total")
	if got[`container="0123",type="PROCESS_EXEC"`] != 1 || got[`container="web",type="PROCESS_EXIT"`] != 1 {
		t.Errorf("events %v", got)
	}
}

// TestLossIsOfWhoHadTheSlot: what a container lost stays its own when its slot is
// another's, whether the count goes on or begins anew.
func TestLossIsOfWhoHadTheSlot(t *testing.T) {
	t.Parallel()
	for _, begins := range []uint64{0, 10} {
		a := newAgent()
		m := measured(t, a, func(o *Options) { o.Labels = []string{"container"} })
		a.put(t, of("first", 2))
		a.lost[2] = 10
		a.remove(t, "first")
		a.lost[2] = begins + 4
		a.put(t, of("second", 2))
		got := scraped(t, m).values("boltseal_container_events_lost_total")
		a.lost[2] += 2
		later := scraped(t, m).values("boltseal_container_events_lost_total")
		if got[`container="first"`] != 10 || got[`container="second"`] != 4 || later[`container="first"`] != 10 || later[`container="second"`] != 6 {
			t.Errorf("slot begins at %d: lost %v, then %v", begins, got, later)
		}
	}
}

// TestStagesOfOneSealAreOneSample: a slot that is another container's has times of its
// own, one that ran before its seal has none, and what no event told of is found by the
// scrape.
func TestStagesOfOneSealAreOneSample(t *testing.T) {
	t.Parallel()
	a := newAgent()
	m := measured(t, a)
	count := func(to string) uint64 {
		for _, of := range scraped(t, m)["boltseal_since_seal_seconds"].GetMetric() {
			if of.GetLabel()[0].GetValue() == to {
				return of.GetHistogram().GetSampleCount()
			}
		}
		return 0
	}
	a.slots[2] = bpf.WireSlot{SealedNs: 5, FirstTaskNs: 6, State: uint32(bpf.WireSlotStateSLOT_MAPPED)}
	a.slots[3] = bpf.WireSlot{SealedNs: 5, State: uint32(bpf.WireSlotStateSLOT_ARMED)} // late
	scraped(t, m)
	if n, armed := count("first_task"), count("armed"); n != 1 || armed != 0 {
		t.Fatalf("%d first tasks, %d armed", n, armed)
	}
	a.slots[2].FirstExecNs, a.slots[2].ArmedNs, a.slots[2].State = 7, 8, uint32(bpf.WireSlotStateSLOT_ARMED)
	for range 2 {
		m.Count(&event.Armed{Header: header(1, 2)})
	}
	a.slots[2].SealedNs, a.slots[2].FirstTaskNs, a.slots[2].FirstExecNs, a.slots[2].ArmedNs = 15, 16, 17, 18
	m.Count(&event.Armed{Header: header(1, 2)})
	scraped(t, m)
	for _, to := range []string{"first_task", "first_exec", "armed"} {
		if n := count(to); n != 2 {
			t.Errorf("%d samples of %s, want 2", n, to)
		}
	}
}

func TestWorkloadOfPod(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, name string
		labels     map[string]string
	}{
		{"web", "web-5d9c-abcde", map[string]string{"pod-template-hash": "5d9c"}},
		{"db", "db-0", map[string]string{"statefulset.kubernetes.io/pod-name": "db-0", "controller-revision-hash": "x"}},
		{"node-agent", "node-agent-abcde", map[string]string{"controller-revision-hash": "x"}},
		{"backup", "backup-abcde", map[string]string{"job-name": "backup"}},
		{"backup", "backup-abcde", map[string]string{"batch.kubernetes.io/job-name": "backup", "job-name": "x"}},
		{"lone-pod", "lone-pod", nil},
		{"lone", "lone", map[string]string{"pod-template-hash": "x"}},
	} {
		if got := workload(&container.Pod{Name: c.name, Labels: c.labels}); got != c.want {
			t.Errorf("workload of %s %v: %q, want %q", c.name, c.labels, got, c.want)
		}
	}
}

func unprintable(r rune) bool { return r != utf8.RuneError && !unicode.IsPrint(r) }

// FuzzLabelValue: whatever a container calls itself and its programs, values are
// bounded and printable, and a scrape can be read.
func FuzzLabelValue(f *testing.F) {
	for _, s := range []string{"", "web", "a\x00b", "\xff\xfe", strings.Repeat("é", 100), strings.Repeat("\x80", 200), "\u202e\"\\\n", "\U000e0001", strings.Repeat("x", 127) + "é"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, name, binary string) {
		for _, value := range []string{cut(name), cutPath(binary)} {
			if len(value) > MaxLabelBytes || !utf8.ValidString(value) || strings.ContainsFunc(value, unprintable) {
				t.Errorf("value %q of %q and %q", value, name, binary)
			}
		}
		if printable := clean(name); len(printable) <= MaxLabelBytes && len(name) <= MaxLabelBytes && cut(name) != printable {
			t.Errorf("%q became %q", name, cut(name))
		}
		a := newAgent()
		m := measured(t, a)
		c := of("a", 2)
		c.Name = name
		a.put(t, c)
		m.Count(exec(1, 2, binary))
		got := scraped(t, m)["boltseal_events_total"].GetMetric()
		if len(got) != 1 {
			t.Fatalf("%d series", len(got))
		}
		for _, l := range got[0].GetLabel() {
			if l.GetName() == "container" && l.GetValue() != cut(name) || l.GetName() == "binary" && l.GetValue() != cutPath(binary) {
				t.Errorf("scraped %s=%q", l.GetName(), l.GetValue())
			}
		}
	})
}
