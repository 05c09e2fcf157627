// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/event"
)

// BenchmarkCount is what counting adds to the handling of an event; "none" is the loop
// without it.
func BenchmarkCount(b *testing.B) {
	a := newAgent()
	a.rules[1] = lsmRule("p")
	kinds := []struct {
		name string
		of   func(tgid, slot uint32) event.Event
	}{
		{"fork", func(tgid, slot uint32) event.Event { return &event.Fork{Header: header(tgid, slot)} }},
		{"exec", func(tgid, slot uint32) event.Event { return exec(tgid, slot, "/usr/bin/true") }},
		{"site", func(tgid, slot uint32) event.Event { return matched(tgid, slot, 1) }},
	}
	for _, kind := range kinds {
		events := make([]event.Event, 64) // that stay in the processor's cache
		for i := range events {
			events[i] = kind.of(uint32(i), 2+uint32(i%8))
		}
		for name, count := range map[string]func(event.Event){"none": func(event.Event) {}, "counted": measured(b, a).Count} {
			b.Run(kind.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					count(events[i%len(events)])
				}
			})
		}
	}
}

// BenchmarkScrape is a scrape with every label set in use.
func BenchmarkScrape(b *testing.B) {
	a := newAgent()
	m := measured(b, a)
	for i := range uint32(MaxLabelSets) {
		a.put(b, of(fmt.Sprint("c", i), 2+i))
		m.Count(exec(i, 2+i, "/bin/sh"))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
