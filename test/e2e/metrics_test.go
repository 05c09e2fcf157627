// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// counted is how long counts may take to reach a scrape on a busy machine.
const counted = 30 * time.Second

// scrape reads an agent's metrics from its socket.
func scrape(ctx context.Context, socket string) (map[string]*dto.MetricFamily, error) {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("scrape: %s", response.Status)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return parser.TextToMetricFamilies(response.Body)
}

// value is the sum of the series that have the labels; a histogram's is its samples.
func value(families map[string]*dto.MetricFamily, name string, labels map[string]string) (sum float64) {
	for _, m := range families[name].GetMetric() {
		matching := 0
		for _, l := range m.GetLabel() {
			if want, asked := labels[l.GetName()]; asked && want == l.GetValue() {
				matching++
			}
		}
		if matching == len(labels) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// TestMetrics: what happens to a real container is in the metrics: its seal, its
// events, what policies did to it; and what it made the agent lose is its own loss.
func TestMetrics(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	socket := filepath.Join(testenv.Dir(t), "metrics.sock")
	agent := agentenv.Start(t, testenv.AgentOptions{Args: []string{
		"--metrics-address", "unix://" + socket, "--metrics-labels", "container,binary", "--metrics-program-stats", "--ring-bytes", "65536",
	}})
	noisy, quiet := newRunning(t, agent), newRunning(t, agent)
	agent.Policy(t, agentenv.PolicyText("opens", noisy.mark, agentenv.Opens("[{matchActions: [{action: Post}]}]")...))
	noisy.tries(t, opens(0, "/etc/hostname"))

	type labels = map[string]string
	type expectation struct {
		name   string
		labels labels
	}
	check := func(all ...expectation) {
		t.Helper()
		testenv.Eventually(t, counted, "metrics", func() error {
			families, err := scrape(t.Context(), socket)
			if err != nil {
				return err
			}
			for _, e := range all {
				if value(families, e.name, e.labels) == 0 {
					return fmt.Errorf("%s%v is missing or zero", e.name, e.labels)
				}
			}
			return nil
		})
	}
	of := labels{"container": noisy.ID}
	check(
		expectation{"boltseal_build_info", nil},
		expectation{"boltseal_since_seal_seconds", labels{"to": "first_task"}},
		expectation{"boltseal_since_seal_seconds", labels{"to": "first_exec"}},
		expectation{"boltseal_since_seal_seconds", labels{"to": "armed"}},
		expectation{"boltseal_since_seal_seconds", labels{"to": "acknowledged"}},
		expectation{"boltseal_runtime_hook_seconds", labels{"result": "sealed"}},
		expectation{"boltseal_events_total", labels{"container": noisy.ID, "type": "PROCESS_EXEC", "binary": "/bin/busybox"}},
		expectation{"boltseal_events_total", labels{"container": noisy.ID, "type": "PROCESS_TRACEPOINT"}},
		expectation{"tetragon_events_total", of},
		expectation{"boltseal_policy_events_total", labels{"container": noisy.ID, "policy": "opens", "hook": "syscalls/sys_enter_openat"}},
		expectation{"boltseal_policy_actions_total", labels{"policy": "opens", "action": "post"}},
		expectation{"boltseal_policy_containers", labels{"policy": "opens"}},
		expectation{"boltseal_policies", labels{"state": "enabled"}},
		expectation{"boltseal_grpc_calls_total", labels{"method": "/tetragon.FineGuidanceSensors/RuntimeHook", "code": "OK"}},
		expectation{"boltseal_program_runs_total", labels{"site": "base", "program": "cgroup_mkdir"}},
		expectation{"boltseal_program_seconds_total", labels{"site": "base", "program": "cgroup_mkdir"}},
		expectation{"boltseal_map_entries", labels{"map": "seals"}},
		expectation{"boltseal_map_entries", labels{"map": "slots"}},
		expectation{"boltseal_map_entries", labels{"map": "policy_counters"}},
		expectation{"boltseal_map_capacity", labels{"map": "match_values"}},
		expectation{"boltseal_containers", nil},
		expectation{"boltseal_sealed_tasks", nil},
		expectation{"boltseal_ring_size_bytes", nil},
		expectation{"boltseal_process_cache_size", nil},
		expectation{"boltseal_site_rules", nil},
	)

	// While the agent hangs its ring fills.
	if err := agent.Hang(); err != nil {
		t.Fatal(err)
	}
	noisy.tries(t, try{0, []string{"/bin/sh", "-c", "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); : < /etc/hostname; done"}})
	if err := agent.Resume(); err != nil {
		t.Fatal(err)
	}
	check(
		expectation{"boltseal_container_events_lost_total", of},
		expectation{"boltseal_events_lost_total", labels{"reason": "ring_full"}},
	)
	families, err := scrape(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	if lost := value(families, "boltseal_container_events_lost_total", labels{"container": quiet.ID}); lost != 0 {
		t.Errorf("the quiet container has lost %v events", lost)
	}
	if failed := value(families, "boltseal_scrape_errors_total", nil); failed != 0 {
		t.Errorf("%v parts of scrapes have failed", failed)
	}
}
