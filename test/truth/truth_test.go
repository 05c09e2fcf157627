// SPDX-License-Identifier: Apache-2.0

//go:build linux

package truth

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

var (
	programs = flag.Int("boltseal.programs", 150, "how many programs are compared")
	oneSeed  = flag.Uint64("boltseal.seed", 0, "the seed of the only program; 0: others each time")
)

const (
	// together is how many programs share a subscription.
	together = 20
	// streamTime is for the last event to come on a busy machine.
	streamTime = time.Minute
)

// theatre is what the tests of a stream need.
type theatre struct {
	*stage
	agent *agentenv.Agent
	homes []*home
	spectator
}

func newTheatre(t *testing.T) *theatre {
	t.Helper()
	testenv.Require(t, testenv.Root(), testenv.BPF(), testenv.BTF(), testenv.Cgroup2(), testenv.Tracefs())
	h := &theatre{stage: newStage(t)}
	image, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	h.spectator = spectator{auid: loginUID(t), self: uint32(os.Getpid()), image: image}
	h.agent = agentenv.Start(t, testenv.AgentOptions{Args: []string{"--log-level", "info", "--event-queue", "100000"}})
	outside, inside := testenv.TempCgroup(t), testenv.TempCgroup(t)
	id := strings.Repeat("0123456789abcdef", 4)
	err = h.agent.Announce(t.Context(), &tetragon.CreateContainer{ContainerID: id, ContainerName: "truth", CgroupsPath: inside.Path + "/c"})
	if err != nil {
		t.Fatal(err)
	}
	container := inside.Child(t, "c")
	below := container.Child(t, "below")
	h.homes = []*home{
		{name: "host", others: []*testenv.Cgroup{outside, container}, containers: []string{"", id}},
		{name: "container", cgroup: container, container: id, others: []*testenv.Cgroup{outside, below}, containers: []string{"", id}},
	}
	return h
}

func loginUID(t *testing.T) uint32 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/loginuid")
	if errors.Is(err, os.ErrNotExist) {
		return ^uint32(0) // the kernel keeps none
	}
	n, err := strconv.ParseUint(string(text), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// programOf is the program of a seed, and where it runs.
func (h *theatre) programOf(seed uint64) (*process, *home) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1)), files: h.files}
	g.home = h.homes[g.IntN(len(h.homes))]
	return g.program(), g.home
}

// record performs programs, two at a time, and returns what they did with all events of
// that time.
func (h *theatre) record(t *testing.T, roots []*process, homes []*home) ([]*performance, []*tetragon.GetEventsResponse) {
	t.Helper()
	events := h.agent.Events(t, &tetragon.GetEventsRequest{})
	performed := make([]*performance, len(roots))
	var wait sync.WaitGroup
	for worker := range 2 {
		wait.Go(func() {
			for i := worker; i < len(roots); i += 2 {
				performed[i] = h.perform(t.Context(), compile(fmt.Sprint(i), roots[i]), homes[i])
			}
		})
	}
	wait.Wait()
	h.fence(t, events)
	if err := events.Stop(); err != nil {
		t.Fatal(err)
	}
	return performed, events.All()
}

// run performs programs and returns how the stream differs from what each did.
func (h *theatre) run(t *testing.T, roots []*process, homes []*home) [][]string {
	t.Helper()
	performed, events := h.record(t, roots, homes)
	s, err := newStream(events)
	if err != nil {
		t.Fatal(err)
	}
	wrong := make([][]string, len(roots))
	for i, p := range performed {
		if p.err != nil {
			wrong[i] = []string{p.err.Error()}
			continue
		}
		wrong[i] = compare(p, s, h.spectator)
	}
	return wrong
}

// fence waits until all has come that happened before.
func (h *theatre) fence(t *testing.T, events *agentenv.Events) {
	t.Helper()
	last := exec.Command(h.files.performer)
	last.Env = append(os.Environ(), "BOLTSEAL_TRUTH=none")
	if err := last.Run(); last.ProcessState == nil {
		t.Fatal(err)
	}
	pid, seen := uint32(last.ProcessState.Pid()), 0
	events.Until(t, streamTime, "the last event comes", func(all []*tetragon.GetEventsResponse) error {
		for ; seen < len(all); seen++ {
			if all[seen].GetProcessExit().GetProcess().GetPid().GetValue() == pid {
				return nil
			}
		}
		return fmt.Errorf("none of %d is the exit of %d", len(all), pid)
	})
}

// smallest is the smallest program that is found to fail, written down, and how it does.
func (h *theatre) smallest(t *testing.T, root *process, at *home) string {
	t.Helper()
	const tries = 40
	var last []string
	shrink(root, tries, func() bool {
		wrong := h.run(t, []*process{root}, []*home{at})[0]
		if len(wrong) > 0 {
			last = wrong
		}
		return len(wrong) > 0
	})
	if last == nil {
		return "  no smaller program fails"
	}
	compile("", root) // for the numbers of its nodes
	return "  the smallest that fails:\n" + describe(root) + "  so:\n    " + strings.Join(last, "\n    ")
}

// TestEventsAreWhatProcessesDid compares the events of random programs with what they
// did: none is missing, none is invented, and what they say is true.
func TestEventsAreWhatProcessesDid(t *testing.T) {
	h := newTheatre(t)
	t.Run("comparison", h.seesLies)
	t.Run("programs", h.compares)
	if lost := h.agent.Status(t).GetEventsLost(); lost != 0 {
		t.Errorf("the kernel's ring lost %d events", lost)
	}
}

// compares compares random programs, until one differs.
func (h *theatre) compares(t *testing.T) {
	seeds := make([]uint64, *programs)
	for i := range seeds {
		seeds[i] = rand.Uint64()
	}
	if *oneSeed != 0 {
		seeds = []uint64{*oneSeed}
	}
	for len(seeds) > 0 && !t.Failed() {
		n := min(together, len(seeds))
		roots, homes := make([]*process, n), make([]*home, n)
		for i := range n {
			roots[i], homes[i] = h.programOf(seeds[i])
		}
		for i, wrong := range h.run(t, roots, homes) {
			if len(wrong) == 0 {
				continue
			}
			smallest := ""
			if !t.Failed() { // the first one's is enough, and takes its time
				smallest = h.smallest(t, roots[i], homes[i])
			}
			t.Errorf("-boltseal.seed=%d, in the %s:\n  %s\n%s", seeds[i], homes[i].name, strings.Join(wrong, "\n  "), smallest)
		}
		seeds = seeds[n:]
	}
}
