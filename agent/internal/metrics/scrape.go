// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/boltseal/boltseal/bpf"
)

// scrape is one answer. Series of the same labels, as names that were cut can be, are
// added up: one that is there twice would cost the whole answer.
type scrape struct {
	*Metrics
	samples map[sampleKey]*sample
}

type sampleKey struct{ name, labels string }

type sample struct {
	labels []string
	value  float64
}

// emit offers a value.
func (s scrape) emit(name string, value float64, labels ...string) {
	key := sampleKey{name, strings.Join(labels, separator)}
	of := s.samples[key]
	if of == nil {
		of = &sample{labels: labels}
		s.samples[key] = of
	}
	of.value += value
}

// send offers a sample under the metric's name and under its compatible one.
func (d *described) send(to chan<- prometheus.Metric, of *sample) {
	kind := prometheus.GaugeValue
	if d.Kind == Counter {
		kind = prometheus.CounterValue
	}
	to <- prometheus.MustNewConstMetric(d.desc, kind, of.value, of.labels...)
	switch {
	case d.alias == nil:
	case d.where < 0:
		to <- prometheus.MustNewConstMetric(d.alias, kind, of.value, of.labels...)
	case of.labels[d.where] == d.Alias.Is:
		rest := slices.Delete(slices.Clone(of.labels), d.where, d.where+1)
		to <- prometheus.MustNewConstMetric(d.alias, kind, of.value, rest...)
	}
}

// failed counts a part that could not be read.
func (s scrape) failed(part string, err error) bool {
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.failures[part]++
	}
	return err != nil
}

// parts are what can fail, so that each has a count from the start.
func parts() []string {
	return []string{"kernel_errors", "lost", "maps", "policies", "programs", "ring"}
}

// Describe is prometheus.Collector.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range m.table {
		if d.Kind == Histogram || d.Name == grpcCalls {
			continue // a collector of its own
		}
		to <- d.desc
		if d.alias != nil {
			to <- d.alias
		}
	}
}

// Collect is prometheus.Collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	m.scraping.Lock()
	defer m.scraping.Unlock()
	if m.closed {
		return
	}
	s := scrape{m, map[sampleKey]*sample{}}
	s.emit(buildInfo, 1, m.options.Version, m.options.GoVersion)
	s.recordCounts()
	s.subscribers()
	s.containers()
	s.kernel()
	s.policyStates()
	s.processes()
	s.workloads()
	for key, of := range s.samples {
		m.table[key.name].send(to, of)
	}
}

// workloads are the series of workloads, and what is counted here besides.
func (s scrape) workloads() {
	lost, err := s.options.Lost()
	lostRead := !s.failed("lost", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if lostRead {
		for slot, n := range lost {
			s.chargeSlot(uint32(slot), n)
		}
	}
	if s.groups.expire() {
		s.changed.Add(1)
	}
	for _, c := range []*counters{s.events, s.policies, s.lost} {
		for _, of := range c.sets {
			s.emit(c.name, float64(of.count.Load()), of.values...)
		}
		s.emit(labelSets, float64(len(c.sets)), prefix+c.name)
		s.emit(labelSetsRefused, float64(c.refused), prefix+c.name)
	}
	for _, part := range parts() {
		s.emit(scrapeErrors, float64(s.failures[part]), part)
	}
}

func (s scrape) recordCounts() {
	all := uint64(0)
	for i, name := range recordNames() {
		n := s.records[i].Load()
		all += n
		s.emit(recordsTotal, float64(n), name)
	}
	undecoded := s.options.Undecoded()
	s.emit(ringReceivedTotal, float64(all+undecoded))
	s.emit(eventsLostTotal, float64(undecoded), lostUndecoded)
	s.emit(eventsLostTotal, float64(s.options.Unresolved()), lostUnresolved)
	for by, name := range map[bpf.WireSealedBy]string{
		bpf.WireSealedBySEALED_BY_NOBODY: "no_room", bpf.WireSealedBySEALED_BY_PATH: "path", bpf.WireSealedBySEALED_BY_PATTERN: "pattern",
	} {
		s.emit(cgroupsSealed, float64(s.sealed[by].Load()), name)
	}
	if used, size, err := s.options.Ring(); !s.failed("ring", err) {
		s.emit(ringUsedBytes, float64(used))
		s.emit(ringSizeBytes, float64(size))
	}
}

func (s scrape) subscribers() {
	for _, of := range s.options.Subscribers() {
		number := strconv.Itoa(of.Number)
		s.emit(subscriberQueue, float64(of.Queued), number)
		s.emit(subscriberRoom, float64(of.Capacity), number)
		s.emit(subscriberLost, float64(of.Lost), number)
	}
	s.emit(notifyLostTotal, float64(s.options.SlowSubscribers()))
}

func (s scrape) containers() {
	s.emit(containersAlive, float64(s.options.Containers.Len()))
	tasks, used, from := int64(0), 0, uint32(bpf.WireReservedSlotsSLOTS_RESERVED)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.emit(containersLate, float64(s.late))
	for slot := from; slot < s.options.Slots(); slot++ {
		kernel := s.options.Slot(slot)
		if kernel.State == uint32(bpf.WireSlotStateSLOT_FREE) {
			continue
		}
		used++
		tasks += max(kernel.Tasks, 0)
		s.observeSlot(slot, kernel)
	}
	s.emit(sealedTasks, float64(tasks))
	s.emit(mapEntries, float64(used), "slots")
	s.emit(mapCapacity, float64(s.options.Slots()-from), "slots")
}

func (s scrape) kernel() {
	if byName, full, err := s.options.KernelErrors(); !s.failed("kernel_errors", err) {
		for name, n := range byName {
			s.emit(kernelErrors, float64(n), name)
		}
		s.emit(eventsLostTotal, float64(full), lostRing)
	}
	if maps, err := s.options.Maps(); !s.failed("maps", err) {
		for _, of := range maps {
			s.emit(mapEntries, float64(of.Entries), of.Name)
			if of.Capacity > 0 {
				s.emit(mapCapacity, float64(of.Capacity), of.Name)
			}
		}
	}
	if programs, err := s.options.Programs(); !s.failed("programs", err) {
		for _, p := range programs {
			s.emit(programRuns, float64(p.Runs), clean(p.Site), p.Name)
			s.emit(programSeconds, p.Time.Seconds(), clean(p.Site), p.Name)
			s.emit(programSkipped, float64(p.Skipped), clean(p.Site), p.Name)
		}
	}
	for _, site := range s.options.Sites() {
		s.emit(siteRules, float64(site.Rules), clean(site.Name))
		s.emit(siteMissed, float64(site.Missed), clean(site.Name))
	}
}

func (s scrape) policyStates() {
	s.emit(policies, float64(s.options.PolicyFaults()), "load_error")
	list, err := s.options.Policies()
	if s.failed("policies", err) {
		return
	}
	enabled := 0
	for _, p := range list {
		state := "disabled"
		if p.Enabled {
			state = "enabled"
			enabled++
		}
		namespace, name := clean(p.Namespace), clean(p.Name)
		s.emit(policyState, 1, namespace, name, p.Mode, state)
		s.emit(policyContainers, float64(p.Containers), namespace, name)
		s.emit(policyMemory, float64(p.KernelMemory), namespace, name)
		for action, n := range p.Actions {
			s.emit(policyActions, float64(n), namespace, name, action)
		}
	}
	s.emit(policies, float64(enabled), "enabled")
	s.emit(policies, float64(len(list)-enabled), "disabled")
}

func (s scrape) processes() {
	of := s.options.Processes()
	s.emit(cacheSize, float64(of.Size))
	s.emit(cacheCapacity, float64(s.options.ProcessRoom))
	s.emit(cacheBytes, float64(of.Bytes))
	s.emit(cacheEvictions, float64(of.Evicted))
	s.emit(cacheMisses, float64(of.Missed))
}
