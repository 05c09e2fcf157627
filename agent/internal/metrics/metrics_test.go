// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/bpf"
)

// want is values of a metric by labels.
type want map[string]float64

// call is a call of the API that ends.
func call(m *Metrics, method string, err error) {
	ctx := m.TagRPC(m.TagConn(context.Background(), nil), &stats.RPCTagInfo{FullMethodName: method})
	m.HandleRPC(ctx, &stats.Begin{})
	m.HandleRPC(ctx, &stats.End{Error: err})
}

const web = `binary="/bin/sh",container="a",namespace="ns",pod="web-5d9c-a",`

// provoked is how each metric comes about, and what a scrape then has of it.
func provoked() map[string]struct {
	do   func(*agent, *Metrics)
	want want
} {
	type row = struct {
		do   func(*agent, *Metrics)
		want want
	}
	none := func(*agent, *Metrics) {}
	policy := func(a *agent, _ *Metrics) {
		a.policies = []Policy{
			{Namespace: "team", Name: "p", Mode: "enforce", Enabled: true, Containers: 3, KernelMemory: 512, Actions: map[string]uint64{"post": 7}},
			{Name: "q", Mode: "monitor", KernelMemory: 1, Actions: map[string]uint64{"post": 0}},
		}
		a.faults = 4
	}
	subscribe := func(a *agent, _ *Metrics) {
		a.subscribers, a.slow = []Subscriber{{Number: 2, Queued: 5, Capacity: 9, Lost: 11}}, 30
	}
	program := func(a *agent, _ *Metrics) {
		a.programs = []Program{{Site: "lsm:file_open", Name: "hook_verdict", Runs: 8, Skipped: 2, Time: 1500 * time.Millisecond}}
	}
	site := func(a *agent, _ *Metrics) { a.sites = []Site{{Name: "kprobe:f", Rules: 3, Missed: 4}} }
	cache := func(a *agent, _ *Metrics) {
		a.processes = process.Stats{Size: 3, Bytes: 4000, Evicted: 5, Missed: 6}
	}
	seal := func(a *agent, _ *Metrics) {
		a.slots[2] = bpf.WireSlot{
			CgroupId: 102, SealedNs: 1e9, FirstTaskNs: 1.5e9, FirstExecNs: 2e9, ArmedNs: 4e9, Tasks: 6, State: uint32(bpf.WireSlotStateSLOT_ARMED),
		}
	}
	return map[string]row{
		buildInfo: {none, want{`go_version="go1",version="v1"`: 1}},
		eventsTotal: {func(_ *agent, m *Metrics) {
			m.Count(exec(1, 2, "/bin/sh"))
			m.Count(exec(1, 2, "/bin/sh"))
			m.Count(exit(1, 2))
			m.Count(exit(1, 2))
		}, want{web + `type="PROCESS_EXEC",workload="web"`: 2, web + `type="PROCESS_EXIT",workload="web"`: 1}},
		policyEventsTotal: {func(a *agent, m *Metrics) {
			a.rules[70] = lsmRule("p")
			m.Count(exec(1, 2, "/bin/sh"))
			silent := matched(1, 2, 70)
			silent.Silent = silent.Posted
			for _, e := range []event.Event{matched(1, 2, 70), matched(1, 2, 70, 71), matched(1, 2), silent} {
				m.Count(e)
			}
		}, want{
			`binary="/bin/sh",container="a",hook="file_open",namespace="ns",pod="web-5d9c-a",policy="p",policy_namespace="team",workload="web"`: 2,
		}},
		recordsTotal: {func(_ *agent, m *Metrics) {
			for _, e := range []event.Event{
				&event.CgroupSealed{}, &event.CgroupGone{}, &event.Fork{}, exec(1, 0, ""), exit(1, 0), &event.Site{}, &event.Data{},
				&event.TaskUnsealed{}, &event.Armed{}, &event.Armed{},
			} {
				m.Count(e)
			}
		}, want{
			`type="cgroup_sealed"`: 1, `type="cgroup_gone"`: 1, `type="fork"`: 1, `type="exec"`: 1, `type="exit"`: 1, `type="site"`: 1,
			`type="data"`: 1, `type="task_unsealed"`: 1, `type="armed"`: 2, `type="other"`: 0,
		}},
		ringReceivedTotal: {func(a *agent, m *Metrics) {
			a.undecoded = 2
			m.Count(&event.Fork{})
		}, want{"": 3}},
		ringUsedBytes: {func(a *agent, _ *Metrics) { a.used = 128 }, want{"": 128}},
		ringSizeBytes: {none, want{"": 4096}},
		eventsLostTotal: {func(a *agent, _ *Metrics) { a.undecoded, a.unresolved, a.ringFull = 1, 2, 3 },
			want{`reason="undecoded"`: 1, `reason="unresolved"`: 2, `reason="ring_full"`: 3}},
		containerLostTotal: {func(a *agent, _ *Metrics) { a.lost[0], a.lost[2] = 4, 5 }, want{
			`container="a",namespace="ns",pod="web-5d9c-a",workload="web"`: 5, `container="",namespace="",pod="",workload=""`: 4,
		}},
		notifyLostTotal:  {subscribe, want{"": 30}},
		subscriberQueue:  {subscribe, want{`subscriber="2"`: 5}},
		subscriberRoom:   {subscribe, want{`subscriber="2"`: 9}},
		subscriberLost:   {subscribe, want{`subscriber="2"`: 11}},
		mapEntries:       {func(a *agent, _ *Metrics) { seal(a, nil); a.maps = []Map{{"seals", 4, 8}, {"task_seals", 6, 0}} }, want{`map="seals"`: 4, `map="task_seals"`: 6, `map="slots"`: 1}},
		mapCapacity:      {func(a *agent, _ *Metrics) { a.maps = []Map{{"seals", 4, 8}, {"task_seals", 6, 0}} }, want{`map="seals"`: 8, `map="slots"`: 14}},
		programRuns:      {program, want{`program="hook_verdict",site="lsm:file_open"`: 8}},
		programSeconds:   {program, want{`program="hook_verdict",site="lsm:file_open"`: 1.5}},
		programSkipped:   {program, want{`program="hook_verdict",site="lsm:file_open"`: 2}},
		siteRules:        {site, want{`site="kprobe:f"`: 3}},
		siteMissed:       {site, want{`site="kprobe:f"`: 4}},
		policies:         {policy, want{`state="enabled"`: 1, `state="disabled"`: 1, `state="load_error"`: 4}},
		policyState:      {policy, want{`mode="enforce",policy="p",policy_namespace="team",state="enabled"`: 1, `mode="monitor",policy="q",policy_namespace="",state="disabled"`: 1}},
		policyActions:    {policy, want{`action="post",policy="p",policy_namespace="team"`: 7, `action="post",policy="q",policy_namespace=""`: 0}},
		policyContainers: {policy, want{`policy="p",policy_namespace="team"`: 3, `policy="q",policy_namespace=""`: 0}},
		policyMemory:     {policy, want{`policy="p",policy_namespace="team"`: 512, `policy="q",policy_namespace=""`: 1}},
		kernelErrors:     {func(a *agent, _ *Metrics) { a.errors = map[string]uint64{"signal": 9} }, want{`error="signal"`: 9}},
		containersAlive:  {none, want{"": 1}},
		containersLate: {func(a *agent, _ *Metrics) {
			late := of("late", 3)
			late.Late = true
			_ = a.Put(late)
		}, want{"": 1}},
		sealedTasks: {seal, want{"": 6}},
		cgroupsSealed: {func(_ *agent, m *Metrics) {
			for _, by := range []bpf.WireSealedBy{
				bpf.WireSealedBySEALED_BY_NOBODY, bpf.WireSealedBySEALED_BY_PATH, bpf.WireSealedBySEALED_BY_PATH, bpf.WireSealedBySEALED_BY_PATTERN, 99,
			} {
				m.Count(&event.CgroupSealed{By: by})
			}
		}, want{`by="no_room"`: 1, `by="path"`: 2, `by="pattern"`: 1}},
		sinceSeal: {func(a *agent, m *Metrics) {
			seal(a, m)
			a.now = 1.25e9
			c, _ := a.ByID("a")
			m.Hooked(time.Second, c)
			m.Hooked(time.Second, c)
			m.Count(&event.Armed{Header: header(1, 2)})
		}, want{`to="first_task",count=1`: 0.5, `to="first_exec",count=1`: 1, `to="armed",count=1`: 3, `to="acknowledged",count=1`: 0.25}},
		runtimeHook: {func(a *agent, m *Metrics) {
			c, _ := a.ByID("a")
			m.Hooked(2*time.Second, c)
			m.Hooked(time.Second, nil)
			m.Hooked(time.Second/2, of("announced", 0))
			announced := of("b", 4)
			announced.CgroupID = 0
			m.Hooked(4*time.Second, announced)
		}, want{`result="sealed",count=2`: 2.5, `result="failed",count=1`: 1, `result="announced",count=1`: 4}},
		cacheSize:      {cache, want{"": 3}},
		cacheCapacity:  {none, want{"": 64}},
		cacheBytes:     {cache, want{"": 4000}},
		cacheEvictions: {cache, want{"": 5}},
		cacheMisses:    {cache, want{"": 6}},
		grpcCalls: {func(_ *agent, m *Metrics) {
			call(m, "/s/Known", nil)
			call(m, "/s/Known", status.Error(codes.NotFound, ""))
			call(m, "/s/made up", nil)
			call(m, "/s/made up too", nil)
		}, want{`code="OK",method="/s/Known"`: 1, `code="NotFound",method="/s/Known"`: 1, `code="OK",method="other"`: 2}},
		labelSets: {func(_ *agent, m *Metrics) { m.Count(exec(1, 2, "/bin/sh")) },
			want{`metric="boltseal_events_total"`: 1, `metric="boltseal_policy_events_total"`: 0, `metric="boltseal_container_events_lost_total"`: 0}},
		labelSetsRefused: {func(_ *agent, m *Metrics) {
			for i := range uint32(share + 1) {
				m.Count(exec(i, 2, strings.Repeat("/x", int(i)%60)+"/"+string(rune('a'+i%26))+string(rune('a'+i/26))))
			}
		}, want{`metric="boltseal_events_total"`: 1, `metric="boltseal_policy_events_total"`: 0, `metric="boltseal_container_events_lost_total"`: 0}},
		scrapeErrors: {func(a *agent, _ *Metrics) { a.fail = errors.New("no") }, want{
			`part="kernel_errors"`: 1, `part="lost"`: 1, `part="maps"`: 1, `part="policies"`: 1, `part="programs"`: 1, `part="ring"`: 1,
		}},
	}
}

// TestEveryMetric provokes each metric and reads it from a scrape, and with it the
// compatible one, which has to say the same.
func TestEveryMetric(t *testing.T) {
	t.Parallel()
	rows := provoked()
	for _, metric := range Table() {
		row, ok := rows[metric.Name]
		if !ok {
			t.Errorf("nothing provokes %s", metric.Name)
			continue
		}
		delete(rows, metric.Name)
		t.Run(metric.Name, func(t *testing.T) {
			t.Parallel()
			a := newAgent()
			m := measured(t, a)
			a.put(t, of("a", 2))
			row.do(a, m)
			got := scraped(t, m)
			if diff := cmp.Diff(row.want, want(got.values(prefix+metric.Name))); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
			family := got[prefix+metric.Name]
			if kind := strings.ToLower(family.GetType().String()); kind != string(metric.Kind) || family.GetHelp() != metric.Help {
				t.Errorf("offered as %s: %s", kind, family.GetHelp())
			}
			if alias := metric.Alias; alias.Name != "" {
				if diff := cmp.Diff(aliased(row.want, metric), want(got.values(compatiblePrefix+alias.Name))); diff != "" {
					t.Errorf("compatible values (-want +got):\n%s", diff)
				}
			}
		})
	}
	for name := range rows {
		t.Errorf("%s is in no table", name)
	}
}

// aliased is what a compatible metric has to have.
func aliased(own want, of Metric) want {
	all := want{}
	for labels, value := range own {
		parts := strings.Split(labels, ",")
		if of.Alias.Where != "" {
			i := slices.Index(parts, of.Alias.Where+`="`+of.Alias.Is+`"`)
			if i < 0 {
				continue
			}
			parts = slices.Delete(parts, i, i+1)
		}
		for i, part := range parts {
			name, rest, _ := strings.Cut(part, "=")
			if renamed := of.Alias.Renamed[name]; renamed != "" {
				parts[i] = renamed + "=" + rest
			}
		}
		if of.Workloads != NoWorkload {
			parts = append(parts, `node_name="here"`)
		}
		slices.Sort(parts)
		all[strings.Join(parts, ",")] = value
	}
	return all
}

// TestCompatibleNames holds the list of what is promised to dashboards: a name that
// they know, and where its values are from.
func TestCompatibleNames(t *testing.T) {
	t.Parallel()
	promised := map[string]string{
		"events_total":                           "events_total",
		"policy_events_total":                    "policy_events_total",
		"observer_ringbuf_events_received_total": "ring_received_total",
		"observer_ringbuf_events_lost_total":     "events_lost_total",
		"notify_overflowed_events_total":         "notify_lost_events_total",
		"map_entries":                            "map_entries",
		"map_capacity":                           "map_capacity",
		"overhead_program_runs_total":            "program_runs_total",
		"overhead_program_seconds_total":         "program_seconds_total",
		"missed_prog_probes_total":               "program_skipped_total",
		"missed_link_probes_total":               "site_missed_calls_total",
		"tracingpolicy_loaded":                   "policies",
		"tracingpolicy_kernel_memory_bytes":      "policy_kernel_memory_bytes",
		"process_cache_size":                     "process_cache_size",
		"process_cache_capacity":                 "process_cache_capacity",
		"process_cache_evictions_total":          "process_cache_evictions_total",
		"process_cache_misses_total":             "process_cache_misses_total",
	}
	got := map[string]string{}
	for _, m := range Table() {
		if m.Alias.Name != "" {
			got[m.Alias.Name] = m.Name
		}
	}
	if diff := cmp.Diff(promised, got); diff != "" {
		t.Errorf("compatible names (-promised +offered):\n%s", diff)
	}
	for name := range scraped(t, measured(t, newAgent(), func(o *Options) { o.Compatible = false })) {
		if strings.HasPrefix(name, compatiblePrefix) {
			t.Errorf("%s is offered, and nobody wants it", name)
		}
	}
}

func TestNamesAreAsTheyShouldBe(t *testing.T) {
	t.Parallel()
	a := newAgent()
	m := measured(t, a)
	a.put(t, of("a", 2))
	for name, row := range provoked() {
		if name != scrapeErrors {
			row.do(a, m)
		}
	}
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	got := scraped(t, m)
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes"} {
		if got[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestLabelsAreThoseAskedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		labels     []string
		want, lost string
	}{
		{nil, `type="PROCESS_EXEC"`, ``},
		{[]string{"binary"}, `binary="/bin/sh",type="PROCESS_EXEC"`, ``},
		{[]string{"pod", "namespace"}, `namespace="ns",pod="web-5d9c-a",type="PROCESS_EXEC"`, `namespace="ns",pod="web-5d9c-a"`},
	} {
		a := newAgent()
		m := measured(t, a, func(o *Options) { o.Labels = c.labels })
		a.put(t, of("a", 2))
		m.Count(exec(1, 2, "/bin/sh"))
		a.lost[2] = 1
		got := scraped(t, m)
		if diff := cmp.Diff(want{c.want: 1}, want(got.values("boltseal_events_total"))); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.labels, diff)
		}
		if diff := cmp.Diff(want{c.lost: 1}, want(got.values("boltseal_container_events_lost_total"))); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.labels, diff)
		}
	}
	if _, err := New(Options{Labels: []string{"image"}, Sources: newAgent().sources()}); err == nil || !strings.Contains(err.Error(), `"image"`) {
		t.Errorf("a label that there is not: %v", err)
	}
}

// TestSeriesOfSameNameAreAddedUp: sites and policies whose names become the same must
// not cost the whole scrape.
func TestSeriesOfSameNameAreAddedUp(t *testing.T) {
	t.Parallel()
	a := newAgent()
	a.sites = []Site{{Name: "a\x01", Rules: 1}, {Name: "a\x02", Rules: 2}}
	if got := scraped(t, measured(t, a)).sum("boltseal_site_rules"); got != 3 {
		t.Errorf("rules %v, want 3", got)
	}
}
