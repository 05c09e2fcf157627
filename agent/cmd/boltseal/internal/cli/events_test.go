// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// TestEventRequests looks at what the agent is asked.
func TestEventRequests(t *testing.T) {
	t.Parallel()
	fake := &fakeAgent{}
	socket := filepath.Join(t.TempDir(), "s")
	server := fake.serve()
	l := listener(t, socket)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)

	const tracepoint, exec = tetragon.EventType_PROCESS_TRACEPOINT, tetragon.EventType_PROCESS_EXEC
	for _, test := range []struct {
		flags string
		want  []*tetragon.Filter
	}{
		{"", nil},
		{"--policy a,b", []*tetragon.Filter{{PolicyNames: []string{"a", "b"}}}},
		{"-e tracepoint -e EXEC", []*tetragon.Filter{{EventSet: []tetragon.EventType{tracepoint, exec}}}},
		{"--pid 1 --pid 4294967295", []*tetragon.Filter{{Pid: []uint32{1, 4294967295}}}},
		{"--binary ^/bin/a,b$ -n x --pod y", []*tetragon.Filter{{
			BinaryRegex: []string{"^/bin/a,b$"}, Namespace: []string{"x"}, PodRegex: []string{"y"},
		}}},
		{"--container w.b --pid 7 -e exec", []*tetragon.Filter{
			{Pid: []uint32{7}, EventSet: []tetragon.EventType{exec}, ContainerNameRegex: []string{`^w\.b$`}},
			{Pid: []uint32{7}, EventSet: []tetragon.EventType{exec}, ContainerId: []string{"w.b"}},
		}},
	} {
		args := append(strings.Fields(test.flags), "events", "--count", "1", "--server-address", socket)
		if code, _, stderr := runWith(t.Context(), args, noEnv); code != 0 {
			t.Errorf("%s: exit code %d: %s", test.flags, code, stderr)
			continue
		}
		want := &tetragon.GetEventsRequest{AllowList: test.want}
		fake.mu.Lock()
		if diff := cmp.Diff(want, fake.request, protocmp.Transform()); diff != "" {
			t.Errorf("%s: want -, got +:\n%s", test.flags, diff)
		}
		fake.mu.Unlock()
	}
}
