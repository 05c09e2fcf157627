// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func TestLossIsToldWhereItIs(t *testing.T) {
	t.Parallel()
	h := Hub{Origin: Origin{Node: "node", Cluster: "cluster", Labels: map[string]string{"a": "b"}}}
	s := subscribe(t, &h, wants(func(e *tetragon.GetEventsResponse) bool { return e.GetRateLimitInfo() == nil }), 2)
	publish := func(from, to int) {
		for n := from; n < to; n++ {
			h.Publish(event(n))
		}
	}
	is := func(n int) {
		t.Helper()
		if e := next(t, s); e.NodeName != strconv.Itoa(n) {
			t.Errorf("%v instead of event %d", e, n)
		}
	}
	publish(0, 5) // 2, 3 and 4 are lost
	is(0)
	publish(5, 7) // 6 is lost
	is(1)
	e := next(t, s)
	if e.GetRateLimitInfo().GetNumberOfDroppedProcessEvents() != 3 || e.NodeName != "node" || e.ClusterName != "cluster" ||
		e.NodeLabels["a"] != "b" || e.Time == nil {
		t.Errorf("loss before event 5: %v", e)
	}
	is(5)
	missing(t, s, 1) // as nothing comes after it
	publish(7, 8)
	is(7)
	publish(8, 11)
	h.Close()
	is(8)
	is(9)
	missing(t, s, 1)
	end(t, s)
}

// TestStuckSubscriberStopsNobody: Publish goes on while one subscriber never
// reads and the view of another never answers.
func TestStuckSubscriberStopsNobody(t *testing.T) {
	t.Parallel()
	var h Hub
	unread := subscribe(t, &h, nil, 1)
	entered, leave := make(chan struct{}), make(chan struct{})
	stuck := subscribe(t, &h, wants(func(e *tetragon.GetEventsResponse) bool {
		if e.NodeName == "0" {
			close(entered)
			<-leave
		}
		return true
	}), 1)
	fast := subscribe(t, &h, nil, 100)
	first := make(chan error)
	go func() {
		_, err := stuck.Next(t.Context())
		first <- err
	}()
	h.Publish(event(0))
	<-entered
	for n := 1; n < 100; n++ {
		h.Publish(event(n))
	}
	for n := range 100 {
		if e := next(t, fast); e.NodeName != strconv.Itoa(n) {
			t.Fatalf("event %d is %v", n, e)
		}
	}
	if lost(unread) != 99 || lost(stuck) != 98 || lost(fast) != 0 {
		t.Errorf("lost %d, %d and %d", lost(unread), lost(stuck), lost(fast))
	}
	close(leave)
	if err := <-first; err != nil {
		t.Error(err)
	}
	h.Close()
}

func TestStats(t *testing.T) {
	t.Parallel()
	var h Hub
	defer h.Close()
	none := 1
	first := subscribe(t, &h, nil, 0)
	s, err := h.Subscribe(t.Context(), Options{
		Name: "s", Queue: 4, PerMinute: &none, View: wants(func(e *tetragon.GetEventsResponse) bool { return e.NodeName != "1" }),
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 6 {
		h.Publish(event(n))
	}
	next(t, s)
	want := Stats{ID: 2, Number: 1, Name: "s", Queued: 3, Capacity: 4, Lost: 2, Sent: 1}
	if got := s.Stats(); got != want {
		t.Errorf("after one: %+v, want %+v", got, want)
	}
	missing(t, s, 2) // 1 was filtered, 2 and 3 were limited
	want = Stats{ID: 2, Number: 1, Name: "s", Capacity: 4, Lost: 2, Filtered: 1, Limited: 2, Sent: 1}
	if got := h.Subscribers(); len(got) != 2 || got[0].Queued != 6 || got[0].ID != 1 || got[1] != want {
		t.Errorf("at the end: %+v, want %+v", got, want)
	}
	first.Close()
	if got := h.Subscribers(); len(got) != 1 || got[0].Name != "s" {
		t.Errorf("after one was closed: %+v", got)
	}
}

// model is what one subscriber is to be told.
type model struct {
	queue  int
	stream []string // events by number, "-n" for n that are missing
	ends   bool
}

func (m *model) waiting() (events int) {
	for _, e := range m.stream {
		if e[0] != '-' {
			events++
		}
	}
	return events
}

func (m *model) publish(n int) {
	switch last := len(m.stream) - 1; {
	case m.ends:
	case m.waiting() < m.queue:
		m.stream = append(m.stream, strconv.Itoa(n))
	case last >= 0 && m.stream[last][0] == '-':
		lost, _ := strconv.Atoi(m.stream[last])
		m.stream[last] = strconv.Itoa(lost - 1)
	default:
		m.stream = append(m.stream, "-1")
	}
}

// name is an event as the model has it.
func name(e *tetragon.GetEventsResponse) string {
	if info := e.GetRateLimitInfo(); info != nil {
		return fmt.Sprint(-int(info.GetNumberOfDroppedProcessEvents()))
	}
	return e.NodeName
}

// TestRandomOrders publishes, subscribes, reads and closes in random orders, and
// compares what is read with a model that has no concurrency.
func TestRandomOrders(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		randomOrder(t, rand.New(rand.NewPCG(seed, 1)), seed)
	}
}

func randomOrder(t *testing.T, random *rand.Rand, seed uint64) {
	t.Helper()
	type pair struct {
		*Subscription
		*model
		cancel context.CancelFunc
	}
	var h Hub
	var all []pair
	read := func(p pair) {
		ctx, cancel := context.WithCancel(t.Context())
		if len(p.stream) == 0 && !p.ends {
			cancel() // nothing waits
		}
		e, err := p.Next(ctx)
		cancel()
		switch {
		case len(p.stream) > 0:
			if err != nil || name(e) != p.stream[0] {
				t.Fatalf("seed %d: read %v, %v; want %s", seed, e, err, p.stream[0])
			}
			p.stream = slices.Delete(p.stream, 0, 1)
		case p.ends && !errors.Is(err, ErrClosed), !p.ends && !errors.Is(err, context.Canceled):
			t.Fatalf("seed %d: read %v, %v; want the end", seed, e, err)
		}
	}
	for n := range 400 {
		switch act := random.IntN(20); {
		case act == 0 && len(all) < 6:
			ctx, cancel := context.WithCancel(t.Context())
			queue := 1 + random.IntN(8)
			s, err := h.Subscribe(ctx, Options{Queue: queue})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, pair{s, &model{queue: queue}, cancel})
		case act == 1 && len(all) > 0:
			p := all[random.IntN(len(all))]
			p.Close()
			p.ends = true
		case act < 11:
			h.Publish(event(n))
			for _, p := range all {
				p.publish(n)
			}
		case len(all) > 0:
			read(all[random.IntN(len(all))])
		}
	}
	h.Close()
	for _, p := range all {
		for p.ends = true; len(p.stream) > 0; {
			read(p)
		}
		read(p)
		p.cancel()
	}
}
