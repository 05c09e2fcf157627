// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/bundle"
	"github.com/boltseal/boltseal/hook/readfile"
	"github.com/boltseal/boltseal/hook/settings"
)

// errDeadline tells that there was no time left before the agent was asked.
var errDeadline = errors.New("deadline exceeded before the agent was asked")

// usualState is the size of an ordinary OCI state, in bytes.
const usualState = 4 << 10

// hook is one run.
type hook struct {
	start  time.Time
	stage  string
	config settings.Settings
	std    streams
	// asked holds the request once the agent is asked, and decided the decision
	// once it is taken, for the watchdog.
	asked   atomic.Pointer[bundle.Request]
	decided atomic.Pointer[result]
	// concluding is held until the decision has been told.
	concluding sync.Mutex
}

// result is what is told about a run.
type result struct {
	agentclient.Decision
	outcome agentclient.Outcome
	id      string
	notes   []string
}

// run does what the stage asks for and returns the exit status.
func (h *hook) run(ctx context.Context) int {
	switch h.stage {
	case "poststart", "poststop":
		return h.nothingToDo(ctx)
	case "createContainer", "startContainer":
		err := fmt.Errorf("stage %s runs inside the container's namespaces, where neither the pid nor the paths "+
			"of the OCI state are the host's: register the hook for createRuntime", h.stage)
		return h.conclude(result{outcome: agentclient.Outcome{Cause: agentclient.BadConfig, Err: err}}, nil)
	}
	return h.seal(ctx)
}

// seal asks the agent and concludes.
func (h *hook) seal(ctx context.Context) int {
	request, id, err := h.readRequest()
	if err != nil {
		return h.conclude(result{id: id, outcome: agentclient.Outcome{Cause: agentclient.BadInput, Err: err}}, nil)
	}
	r := result{id: request.ID, notes: request.Notes}
	raw, err := request.Marshal()
	switch {
	case err != nil:
		r.outcome = agentclient.Outcome{Cause: agentclient.BadInput, Err: err}
	case ctx.Err() != nil:
		r.outcome = agentclient.Outcome{Cause: agentclient.BadInput, Err: errDeadline}
	default:
		h.asked.Store(request)
		client := agentclient.Client{Address: h.config.Address}
		r.outcome = agentclient.OutcomeOf(client.RuntimeHook(ctx, raw))
	}
	return h.conclude(r, request)
}

// readRequest makes the request out of standard input and the bundle. The
// container's id is returned as soon as it is known.
func (h *hook) readRequest() (*bundle.Request, string, error) {
	raw, err := readfile.All(h.std.in, bundle.MaxState, usualState)
	if err != nil {
		return nil, "", fmt.Errorf("%w: read standard input: %w", bundle.ErrState, err)
	}
	state, err := bundle.ParseState(raw)
	if err != nil {
		return nil, "", err
	}
	raw, _, err = readfile.Regular(filepath.Join(state.Bundle, "config.json"), bundle.MaxConfig)
	if err != nil {
		return nil, state.ID, fmt.Errorf("%w: read: %w", bundle.ErrConfig, err)
	}
	config, err := bundle.ParseConfig(raw)
	if err != nil {
		return nil, state.ID, err
	}
	request, err := bundle.NewRequest(state, config, bundle.Hints{Runtime: callerRuntime(), LastCap: lastCap()})
	return request, state.ID, err
}

// conclude decides, spools, tells, and returns the exit status. request is nil
// when there is none. The first caller decides; a later one only hears of it, when all
// of it has been told.
func (h *hook) conclude(r result, request *bundle.Request) int {
	if r.outcome.Cause != agentclient.Acknowledged {
		r.outcome.NeverUp = h.config.NeverUp()
	}
	r.Decision = agentclient.Decide(r.outcome, h.config.FailPolicy, agentclient.SubjectOf(request))
	h.concluding.Lock()
	defer h.concluding.Unlock()
	if !h.decided.CompareAndSwap(nil, &r) {
		return exitStatus(h.decided.Load().Decision)
	}
	status := exitStatus(r.Decision)
	if r.Late {
		if err := h.spool(request); err != nil {
			r.notes = append(r.notes[:len(r.notes):len(r.notes)], err.Error())
		}
	}
	h.tell(r)
	return status
}

// spool writes the request down for the agent.
func (h *hook) spool(request *bundle.Request) error {
	late := *request
	late.Late = true
	raw, err := late.Marshal()
	if err != nil {
		return err
	}
	return agentclient.Spool(h.config.SpoolDir, late.ID, raw)
}

// configFault blocks: a rule that can not be read may be the one that matters.
func (h *hook) configFault(err error) int {
	return h.conclude(result{outcome: agentclient.Outcome{Cause: agentclient.BadConfig, Err: err}}, nil)
}

// giveUp ends a run whose time is over. A decision that is taken stands: what
// hangs is the spool or the log. Otherwise it is taken now: the agent has not
// answered, or, when it was not asked yet, the container's papers can not be
// read. grace bounds the time to say so.
func (h *hook) giveUp(grace time.Duration) int {
	r := result{outcome: agentclient.Outcome{Cause: agentclient.BadInput, Err: errDeadline}}
	request := h.asked.Load()
	if request != nil {
		r.id = request.ID
		r.outcome = agentclient.OutcomeOf(fmt.Errorf("%w: %w", agentclient.ErrNoAnswer, context.DeadlineExceeded))
	}
	concluded := make(chan int, 1)
	go func() { concluded <- h.conclude(r, request) }()
	select {
	case status := <-concluded:
		return status
	case <-time.After(grace):
	}
	if taken := h.decided.Load(); taken != nil {
		return exitStatus(taken.Decision)
	}
	return exitBlock
}

func exitStatus(d agentclient.Decision) int {
	if d.Start {
		return exitStart
	}
	return exitBlock
}

// callerRuntime returns the name of the low-level runtime that runs the hook,
// empty when its executable has no name that is known.
func callerRuntime() string {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", os.Getppid()))
	if err != nil {
		return ""
	}
	// crun executes a copy of itself out of memory: /memfd:crun (deleted).
	name := strings.TrimPrefix(strings.TrimSuffix(filepath.Base(exe), " (deleted)"), "memfd:")
	for _, known := range []string{"runc", "crun", "youki", "runsc"} {
		if name == known || strings.HasPrefix(name, known+"_") {
			return known
		}
	}
	return ""
}

// lastCap is the number of the last capability that the kernel knows, 0 when it
// cannot be found out: a container is not kept from starting for that.
func lastCap() int {
	raw, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return 0
	}
	n, err := bundle.ParseLastCap(raw)
	if err != nil {
		return 0
	}
	return n
}
