// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent is the rest of an agent, as far as metrics ask it.
type agent struct {
	*container.Registry

	mu          sync.Mutex
	slots       []bpf.WireSlot
	lost        []uint64
	errors      map[string]uint64
	ringFull    uint64
	used        uint64
	maps        []Map
	programs    []Program
	sites       []Site
	policies    []Policy
	faults      int
	subscribers []Subscriber
	slow        uint64
	undecoded   uint64
	unresolved  uint64
	processes   process.Stats
	binaries    map[process.Key]string
	rules       map[int]Rule
	now         uint64
	fail        error
}

func newAgent() *agent {
	return &agent{
		Registry: container.New(0), slots: make([]bpf.WireSlot, 16), lost: make([]uint64, 16),
		binaries: map[process.Key]string{}, rules: map[int]Rule{},
	}
}

// ask answers with a part of the agent, or its error.
func ask[T any](a *agent, part *T) func() (T, error) {
	return func() (T, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return *part, a.fail
	}
}

func get[T any](a *agent, part *T) func() T {
	return func() T {
		a.mu.Lock()
		defer a.mu.Unlock()
		return *part
	}
}

func (a *agent) sources() Sources {
	return Sources{
		Containers: a,
		Slot: func(slot uint32) bpf.WireSlot {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.slots[slot]
		},
		Slots: func() uint32 { return uint32(len(a.slots)) },
		Lost: func() ([]uint64, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			return slices.Clone(a.lost), a.fail
		},
		LostOf: func(slot uint32) (uint64, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.lost[slot], a.fail
		},
		KernelErrors: func() (map[string]uint64, uint64, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.errors, a.ringFull, a.fail
		},
		Ring: func() (uint64, uint64, error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.used, 4096, a.fail
		},
		Maps: ask(a, &a.maps), Programs: ask(a, &a.programs), Sites: get(a, &a.sites),
		Policies: ask(a, &a.policies), PolicyFaults: get(a, &a.faults),
		Subscribers: get(a, &a.subscribers), SlowSubscribers: get(a, &a.slow),
		Undecoded: get(a, &a.undecoded), Unresolved: get(a, &a.unresolved),
		Processes: get(a, &a.processes), ProcessRoom: 64,
		Binary: func(k process.Key) string {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.binaries[k]
		},
		Rule: func(_, _ uint32, bit int) (Rule, bool) {
			a.mu.Lock()
			defer a.mu.Unlock()
			r, ok := a.rules[bit]
			return r, ok
		},
		Now: get(a, &a.now),
	}
}

// measured makes metrics with all labels and compatible names, unless change says
// otherwise.
func measured(tb testing.TB, a *agent, change ...func(*Options)) *Metrics {
	tb.Helper()
	o := Options{
		Version: "v1", GoVersion: "go1", Node: "here", Labels: LabelNames(), Compatible: true, Grace: time.Minute,
		Methods: []string{"/s/Known"}, Sources: a.sources(),
	}
	for _, c := range change {
		c(&o)
	}
	m, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(m.Close)
	return m
}

// families is what a scrape answered.
type families map[string]*dto.MetricFamily

// scraped asks as Prometheus does. Unlike Handler's, the answer is an error when a series
// is there twice.
func scraped(tb testing.TB, m *Metrics) families {
	tb.Helper()
	response := httptest.NewRecorder()
	strict := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError})
	strict.ServeHTTP(response, httptest.NewRequest("GET", Path, nil))
	if response.Code != 200 {
		tb.Fatalf("scrape: %d: %s", response.Code, response.Body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	parsed, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		tb.Fatalf("parse scrape: %v", err)
	}
	return parsed
}

// values are the values of a metric by its labels, as in `a="1",b=""`.
func (f families) values(name string) map[string]float64 {
	all := map[string]float64{}
	for _, m := range f[name].GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
		}
		value := m.GetCounter().GetValue() + m.GetGauge().GetValue()
		if h := m.GetHistogram(); h != nil {
			value = h.GetSampleSum()
			labels = append(labels, fmt.Sprintf("count=%d", h.GetSampleCount()))
		}
		all[strings.Join(labels, ",")] = value
	}
	return all
}

func (f families) sum(name string) (sum float64) {
	for _, v := range f.values(name) {
		sum += v
	}
	return sum
}

// of is a container's pod of a deployment.
func of(id string, slot uint32) *container.Container {
	return &container.Container{
		ID: id, Name: id, Slot: slot, CgroupID: 100 + uint64(slot),
		Pod: &container.Pod{Namespace: "ns", Name: "web-5d9c-" + id, Labels: map[string]string{"pod-template-hash": "5d9c"}},
	}
}

func (a *agent) put(tb testing.TB, c *container.Container) {
	tb.Helper()
	if err := a.Put(c); err != nil {
		tb.Fatal(err)
	}
}

func (a *agent) remove(tb testing.TB, id string) {
	tb.Helper()
	if _, err := a.Remove(id, time.Now()); err != nil {
		tb.Fatal(err)
	}
}

func header(tgid, slot uint32) event.Header {
	return event.Header{Tgid: tgid, Tid: tgid, Start: uint64(tgid) * 1000, Slot: slot}
}

func exec(tgid, slot uint32, binary string) *event.Exec {
	return &event.Exec{Header: header(tgid, slot), Binary: binary}
}

func exit(tgid, slot uint32) *event.Exit { return &event.Exit{Header: header(tgid, slot)} }

// matched is a record in which rules ask for events.
func matched(tgid, slot uint32, bits ...int) *event.Site {
	e := &event.Site{Header: header(tgid, slot), Version: 1}
	for _, bit := range bits {
		e.Posted[bit/64] |= 1 << (bit % 64)
	}
	return e
}

func lsmRule(policy string) Rule {
	return Rule{Type: tetragon.EventType_PROCESS_LSM, Namespace: "team", Policy: policy, Hook: "file_open"}
}
