// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// secludedRuntime is what a secluded agent takes for a runtime: a program that
// this package alone starts.
const secludedRuntime = "bst-runc"

// newSecluded is a rig whose agent takes nobody else's runc for a runtime, so
// that what it does for want of room is done to nobody else. Its own runc goes by
// another name.
func newSecluded(t *testing.T, args ...string) *rig {
	t.Helper()
	r := newRig(t, testenv.AgentOptions{Args: append([]string{"--runtime-names", secludedRuntime}, args...)})
	program := filepath.Join(testenv.Dir(t), secludedRuntime)
	runc, err := exec.LookPath(r.runc.Path)
	if err == nil {
		err = os.Symlink(runc, program)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.runc.Path = program
	return r
}

// state is everything that a refused request must leave as it was.
type state struct {
	containers, policies, sites string
	slots                       uint32
	objects                     objects
}

func (r *rig) state(t *testing.T) state {
	t.Helper()
	var s state
	strangers := uint32(0)
	for _, c := range r.agent.Containers(t) {
		if strange(c) {
			strangers++
			continue
		}
		s.containers += fmt.Sprintln(c.GetId(), c.GetCgroupPath(), c.GetCgroupId(), c.GetState(), c.GetPolicies(), c.GetAnnotations())
	}
	s.containers = sorted(s.containers)
	list, err := r.agent.Tetragon.ListTracingPolicies(t.Context(), &tetragon.ListTracingPoliciesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list.GetPolicies() {
		s.policies += fmt.Sprintln(p.GetName(), p.GetNamespace(), p.GetState(), p.GetMode(), p.GetKernelMemoryBytes())
	}
	is := r.agent.Status(t)
	s.sites, s.slots = fmt.Sprint(is.GetSites()), is.GetSlotsUsed()-strangers
	s.objects = objectsOf(t, r.agent.Pid)
	return s
}

func sorted(lines string) string {
	all := slices.Sorted(strings.Lines(lines))
	return strings.Join(all, "")
}

// strange tells whether a container is another test's, which the kernel has taken
// for one by its name.
func strange(c *boltseal.Container) bool {
	return !mine(c) && c.GetSealedBy() == boltseal.SealedBy_SEALED_BY_RUNTIME_PATTERN
}

// unchanged fails the test when something is not as it was.
func (r *rig) unchanged(t *testing.T, before state) {
	t.Helper()
	after := r.state(t)
	if after.containers != before.containers {
		t.Errorf("containers:\n%swere:\n%s", after.containers, before.containers)
	}
	if after.policies != before.policies || after.sites != before.sites {
		t.Errorf("policies %s and sites %s, were %s and %s", after.policies, after.sites, before.policies, before.sites)
	}
	// Those of others come between two questions, and go after a while.
	testenv.Eventually(t, 5*time.Second, "as many slots are in use as before", func() error {
		if n := r.state(t).slots; n != before.slots {
			return fmt.Errorf("%d, were %d", n, before.slots)
		}
		return nil
	})
	if err := sameObjects(before.objects, after.objects); err != nil {
		t.Error(err)
	}
}

// refused holds a call's error against what a client can rely on: the code, and
// words that say what is wrong.
func refused(t *testing.T, err error, code codes.Code, words ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("%v; want code %s", err, code)
	}
	text := status.Convert(err).Message()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q does not say %q", text, w)
		}
	}
	if len(text) > 4096 || strings.ContainsAny(text, "\x00\x1b") {
		t.Errorf("an error of %d bytes, or with control characters: %.200q", len(text), text)
	}
}

// works shows that the agent still does what it is for.
func (r *rig) works(t *testing.T) {
	t.Helper()
	before := r.signals(t)
	for mark, want := range map[string]bool{r.mark: false, "not-" + r.mark: true} {
		box := testenv.Bundle(t, testenv.Spec{
			Args: []string{"/bin/cat", secretFile}, Annotations: agentenv.Marked(mark), Hooks: r.hook.OCI(),
		})
		result := r.runc.Run(t.Context(), box)
		if leak := strings.Contains(result.Stdout, testenv.Secret); leak != want {
			t.Errorf("mark %s: leak %t: %s\nhook: %s", mark, leak, result, r.hook.Lines(t))
		}
	}
	if n := r.signals(t) - before; n != 1 {
		t.Errorf("the policy counted %d signals for one act", n)
	}
}

// rawCodec sends bytes as they are, also where no client would.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) {
	if b, ok := v.(*[]byte); ok {
		return *b, nil
	}
	return nil, fmt.Errorf("raw message of %T", v)
}

func (rawCodec) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("raw message of %T", v)
	}
	*b = bytes.Clone(data)
	return nil
}

var _ encoding.Codec = rawCodec{}

// raw calls a method with bytes that need be no message.
func raw(ctx context.Context, conn *grpc.ClientConn, method string, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var answer []byte
	return conn.Invoke(ctx, method, &message, &answer, grpc.ForceCodec(rawCodec{}))
}

const (
	methodHook = "/tetragon.FineGuidanceSensors/RuntimeHook"
	methodAdd  = "/tetragon.FineGuidanceSensors/AddTracingPolicy"
)
