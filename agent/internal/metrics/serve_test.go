// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/bpf"
)

// served serves metrics on a socket until stop.
func served(t *testing.T, m *Metrics) (client *http.Client, stop func() error) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Serve(ctx, listener, slog.New(slog.DiscardHandler)) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	var once sync.Once
	stop = func() (err error) {
		once.Do(func() {
			cancel()
			err = <-ended
			transport.CloseIdleConnections()
		})
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return &http.Client{Transport: transport}, stop
}

func TestServe(t *testing.T) {
	t.Parallel()
	client, stop := served(t, measured(t, newAgent()))
	for _, c := range []struct {
		method, path string
		code         int
		text         string
	}{
		{"GET", "/metrics", 200, "\nboltseal_build_info{go_version=\"go1\",version=\"v1\"} 1\n"},
		{"POST", "/metrics", 405, ""},
		{"GET", "/", 404, ""},
		{"GET", "/metrics/x", 404, ""},
		{"GET", "/debug/pprof/", 404, ""},
	} {
		request, err := http.NewRequestWithContext(t.Context(), c.method, "http://m"+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != c.code || !strings.Contains(string(text), c.text) {
			t.Errorf("%s %s: %d, %v: %.200s", c.method, c.path, response.StatusCode, err, text)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestStopWaitsForScrape: sources may be closed once Close has returned.
func TestStopWaitsForScrape(t *testing.T) {
	t.Parallel()
	a := newAgent()
	asked, answer := make(chan struct{}), make(chan struct{})
	m := measured(t, a, func(o *Options) {
		o.Maps = func() ([]Map, error) {
			close(asked)
			<-answer
			return nil, errors.New("slow")
		}
	})
	scrape := make(chan struct{})
	go func() {
		defer close(scrape)
		_, _ = m.registry.Gather()
	}()
	<-asked
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Close()
	}()
	select {
	case <-done:
		t.Error("closed while a scrape is under way")
	case <-time.After(100 * time.Millisecond): // it waits for as long as it takes
	}
	close(answer)
	<-done
	<-scrape
	if families, err := m.registry.Gather(); err != nil || len(families) == 0 {
		t.Errorf("a scrape after Close: %d families, %v", len(families), err)
	}
}

// TestScrapeDuringChanges scrapes while events come, containers come and go, and hooks
// are answered, by those who hold a lock that a scrape needs.
func TestScrapeDuringChanges(t *testing.T) {
	t.Parallel()
	a := newAgent()
	a.slots = make([]bpf.WireSlot, 64)
	a.lost = make([]uint64, 64)
	a.rules[1] = lsmRule("p")
	var control sync.Mutex // who changes containers holds it
	m := measured(t, a, func(o *Options) {
		o.Grace = time.Nanosecond
		o.Policies = func() ([]Policy, error) {
			control.Lock()
			defer control.Unlock()
			return []Policy{{Name: "p", Actions: map[string]uint64{"post": 1}}}, nil
		}
	})
	const rounds = 300
	var all sync.WaitGroup
	all.Go(func() {
		for i := range uint32(rounds * 20) {
			m.Count(exec(i%50, 2+i%60, fmt.Sprint("/", i%400)))
			m.Count(matched(i%50, 2+i%60, 1))
			m.Count(exit(i%50, 2+i%60))
		}
	})
	for worker := range uint32(2) {
		all.Go(func() {
			for i := range uint32(rounds) {
				slot := 2 + worker*30 + i%30
				c := of(fmt.Sprint(worker, "-", i), slot)
				control.Lock()
				if err := a.Put(c); err != nil && !errors.Is(err, container.ErrConflict) {
					t.Error(err)
				}
				a.mu.Lock()
				a.lost[slot]++
				a.slots[slot] = bpf.WireSlot{CgroupId: c.CgroupID, SealedNs: uint64(i), FirstTaskNs: uint64(i + 1), State: uint32(bpf.WireSlotStateSLOT_MAPPED)}
				a.mu.Unlock()
				m.Hooked(time.Millisecond, c)
				_, _ = a.Remove(c.ID, time.Now())
				control.Unlock()
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		all.Wait()
	}()
	for running := true; running; {
		select {
		case <-ended:
			running = false
		default:
		}
		scraped(t, m)
	}
	if got := scraped(t, m).sum("boltseal_container_events_lost_total"); got > 2*rounds {
		t.Errorf("%v events are lost, of %d", got, 2*rounds)
	}
}
