// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	prometheuscollectors "github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/bpf"
)

// Options configures Metrics.
type Options struct {
	// Version and GoVersion are those of the agent, Node is the name of this host.
	Version, GoVersion, Node string
	// Labels are the labels of workloads that metrics have, of [LabelNames].
	Labels []string
	// Compatible: metrics are offered under their compatible names too.
	Compatible bool
	// Grace is how long the series of a workload stay when its last container has gone.
	Grace time.Duration
	// Methods are the methods of the API, as in "/package.Service/Method".
	Methods []string
	Sources
}

// Metrics is what is offered. It is safe for concurrent use, but for Count.
type Metrics struct {
	options  Options
	registry *prometheus.Registry
	table    map[string]*described
	methods  map[string]bool

	// scraping is held during a scrape, and never by who is told of containers: whoever
	// changes containers can hold locks that sources need.
	scraping sync.Mutex
	closed   bool

	mu       sync.Mutex // of what follows
	groups   *groups
	events   *counters
	policies *counters
	lost     *counters
	slots    map[uint32]*slot
	late     int
	failures map[string]uint64
	unwatch  func()

	// changed counts changes after which what Count keeps is out of date.
	changed atomic.Uint64
	// records are counts by type.
	records [recordTypes]atomic.Uint64
	sealed  [bpf.WireSealedBySEALED_BY_AGENT + 1]atomic.Uint64
	count   counting

	sinceSeal, hooks *prometheus.HistogramVec
	calls            *prometheus.CounterVec
}

// slot is what is known of the container that has a slot.
type slot struct {
	// sealed is when the kernel sealed it; of the stages that are known of that seal the
	// times have been observed.
	sealed                         uint64
	task, exec, armed, acknowledge bool
	// lost is how many lost events have been charged to a workload.
	lost uint64
	of   *group
}

// described is a metric and how it is offered.
type described struct {
	Metric
	labels []string
	desc   *prometheus.Desc
	alias  *prometheus.Desc
	// where is the label that the alias asks for, -1: none.
	where int
}

// New makes metrics of what the sources tell, while there are no containers yet. Close
// them.
func New(o Options) (*Metrics, error) {
	for _, label := range o.Labels {
		if !slices.Contains(LabelNames(), label) {
			return nil, fmt.Errorf("label of metrics: %q is none of %v", label, LabelNames())
		}
	}
	o.Labels = chosen(o.Labels)
	m := &Metrics{
		options: o, registry: prometheus.NewRegistry(), table: map[string]*described{}, methods: map[string]bool{},
		groups: newGroups(o.Labels, o.Grace), slots: map[uint32]*slot{}, failures: map[string]uint64{},
	}
	for _, method := range o.Methods {
		m.methods[method] = true
	}
	for _, of := range Table() {
		m.table[of.Name] = m.describe(of)
	}
	m.events, m.policies, m.lost = m.counters(eventsTotal, true), m.counters(policyEventsTotal, false), m.counters(containerLostTotal, false)
	m.count = newCounting()
	m.sinceSeal, m.hooks = m.histogram(sinceSeal), m.histogram(runtimeHook)
	d := m.table[grpcCalls]
	m.calls = prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + d.Name, Help: d.Help}, d.Labels)
	for _, c := range []prometheus.Collector{
		m, m.sinceSeal, m.hooks, m.calls, prometheuscollectors.NewGoCollector(),
		prometheuscollectors.NewProcessCollector(prometheuscollectors.ProcessCollectorOpts{}),
	} {
		if err := m.registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	m.unwatch = o.Containers.Subscribe(m.containerChanged)
	return m, nil
}

// Close ends the watch over containers. It waits for the scrape that is under way; of
// later ones the answer is empty.
func (m *Metrics) Close() {
	m.unwatch()
	m.scraping.Lock()
	defer m.scraping.Unlock()
	m.closed = true
}

func (m *Metrics) describe(of Metric) *described {
	d := &described{Metric: of, labels: slices.Clone(of.Labels), where: -1}
	if of.Workloads != NoWorkload {
		d.labels = append(d.labels, m.options.Labels...)
	}
	if of.Workloads == WorkloadOnly {
		d.labels = slices.DeleteFunc(d.labels, func(l string) bool { return l == labelBinary })
	}
	d.desc = prometheus.NewDesc(prefix+of.Name, of.Help, d.labels, nil)
	if of.Alias.Name == "" || !m.options.Compatible {
		return d
	}
	names := slices.Clone(d.labels)
	for i, name := range names {
		if renamed, ok := of.Alias.Renamed[name]; ok {
			names[i] = renamed
		}
	}
	if d.where = slices.Index(d.labels, of.Alias.Where); d.where >= 0 {
		names = slices.Delete(names, d.where, d.where+1)
	}
	var constant prometheus.Labels
	if of.Workloads != NoWorkload {
		constant = prometheus.Labels{"node_name": m.options.Node}
	}
	d.alias = prometheus.NewDesc(compatiblePrefix+of.Alias.Name, of.Help, names, constant)
	return d
}

func (m *Metrics) counters(name string, keep bool) *counters {
	d := m.table[name]
	return &counters{
		name: name, own: len(d.Labels), keep: keep, sets: map[string]*series{},
		binary: d.Workloads == WholeWorkload && slices.Contains(m.options.Labels, labelBinary),
	}
}

func (m *Metrics) histogram(name string) *prometheus.HistogramVec {
	d := m.table[name]
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + d.Name, Help: d.Help,
		Buckets: prometheus.ExponentialBuckets(50e-6, 2.5, 15), // 50 µs to 19 s
	}, d.labels)
}

// Sources are what is asked at a scrape. All are needed. Slot, LostOf and those of
// Containers must not wait for a lock that is held by who changes containers.
type Sources struct {
	Containers Containers
	// Slot is what the kernel knows of a slot, and Slots is one more than the highest.
	Slot  func(slot uint32) bpf.WireSlot
	Slots func() uint32
	// Lost is how many events of each slot were lost, and LostOf those of one.
	Lost   func() ([]uint64, error)
	LostOf func(slot uint32) (uint64, error)
	// KernelErrors are counts by name, and RingFull those of lost events.
	KernelErrors func() (byName map[string]uint64, ringFull uint64, err error)
	// Ring is how much of the kernel's ring is in use.
	Ring func() (used, size uint64, err error)
	// Maps is how full the kernel's maps are, and Programs what programs cost.
	Maps     func() ([]Map, error)
	Programs func() ([]Program, error)
	Sites    func() []Site
	// Policies lists the policies; PolicyFaults is how many files of policies are not in
	// force as they are.
	Policies     func() ([]Policy, error)
	PolicyFaults func() int
	// Subscribers lists those of events, and SlowSubscribers is how many events all that
	// there were have lost.
	Subscribers     func() []Subscriber
	SlowSubscribers func() uint64
	// Undecoded and Unresolved are how many records and rules made no event.
	Undecoded, Unresolved func() uint64
	// Processes is what the process cache did, and ProcessRoom what it has room for.
	Processes   func() process.Stats
	ProcessRoom int
	// Binary is the binary of a process, empty when it is not known.
	Binary func(process.Key) string
	// Rule says what a bit of a site's rules stands for in a version.
	Rule func(site, version uint32, bit int) (Rule, bool)
	// Now is the clock of the kernel's times, in ns since boot.
	Now func() uint64
}

// Containers are those of the host: a *container.Registry.
type Containers interface {
	BySlot(slot uint32) (*container.Container, bool)
	Len() int
	Subscribe(fn func(container.Change)) (cancel func())
}

// Map is how full a kernel map is.
type Map struct {
	Name string
	// Capacity is 0 where it has no fixed one.
	Entries, Capacity uint64
}

// Program is what a kernel program at a site did; the site of the agent's own
// programs is empty.
type Program struct {
	Site, Name    string
	Runs, Skipped uint64
	Time          time.Duration
}

// Site is an attached site.
type Site struct {
	Name   string
	Rules  int
	Missed uint64
}

// Policy is a policy and what its rules did.
type Policy struct {
	Namespace, Name, Mode string
	Enabled               bool
	Containers            int
	KernelMemory          uint64
	// Actions are counts by action.
	Actions map[string]uint64
}

// Subscriber is a subscriber of events.
type Subscriber struct {
	// Number is unique among those that there are, and small.
	Number           int
	Queued, Capacity int
	Lost             uint64
}

// Limits of scrapes: two at a time, and no longer than a scraper waits.
const (
	maxScrapes = 2
	scrapeTime = 20 * time.Second
)

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes, Timeout: scrapeTime, EnableOpenMetrics: true,
	})
}
