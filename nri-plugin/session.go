// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/bundle"
)

// answerTime is the most time that an answer to the runtime takes: one that
// waits longer than its limit, 2 s unless it is configured, drops the plugin and
// starts containers without asking it. While it waits it asks nothing else.
const answerTime = 1500 * time.Millisecond

// session is one registration with one runtime, of the gate and of the watcher that
// comes after it.
type session struct {
	*plugin
	log  *slog.Logger
	seed maphash.Seed

	mu      sync.Mutex
	stub    stub.Stub
	runtime string
	traits  traits
	limit   time.Duration
	// told has what the agent has acknowledged in this session: by a container's id,
	// the hash of what identifies it.
	told map[string]uint64
}

func newSession(p *plugin, log *slog.Logger) *session {
	return &session{
		plugin: p, log: log, seed: maphash.MakeSeed(), traits: traitsOf("", ""),
		limit: answerTime, told: map[string]uint64{},
	}
}

// attach gives the session the stub that knows how long the runtime waits.
func (s *session) attach(of stub.Stub) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stub = of
}

// configure is told which runtime it is.
func (s *session) configure(runtime, version string) traits {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runtime, s.traits = runtime, traitsOf(runtime, version)
	if s.stub != nil && s.stub.RequestTimeout() > 0 {
		s.limit = min(s.limit, s.stub.RequestTimeout()*3/4)
	}
	return s.traits
}

// kind is what is known of the runtime.
func (s *session) kind() (runtime string, of traits, limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runtime, s.traits, s.limit
}

// hash is of what identifies a container: all but how far it has come.
func (s *session) hash(r *bundle.Request) uint64 {
	identity := *r
	identity.InitPid, identity.Late = 0, false
	raw, err := identity.Marshal()
	if err != nil {
		return 0 // it cannot be told either
	}
	return maphash.Bytes(s.seed, raw)
}

// knows tells whether the agent has heard of a container in this session.
func (s *session) knows(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.told[id]
	return ok
}

// toldAs tells whether the agent has heard of a container as it is.
func (s *session) toldAs(r *bundle.Request) bool {
	hash := s.hash(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	was, ok := s.told[r.ID]
	return ok && was == hash
}

// acknowledged remembers that the agent knows a container that runs.
func (s *session) acknowledged(r *bundle.Request) {
	hash := s.hash(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told[r.ID] = hash
}

// forget drops what is not there any more.
func (s *session) forget(gone func(id string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.told {
		if gone(id) {
			delete(s.told, id)
		}
	}
}

// request translates a container for the agent.
func (s *session) request(pod *api.PodSandbox, c *api.Container) (*bundle.Request, error) {
	runtime, of, _ := s.kind()
	if !of.pods {
		pod = nil
	}
	return translate(runtime, pod, c)
}

// ask tells the agent of a container and returns what came of it. The request is
// never nil.
func (s *session) ask(ctx context.Context, now terms, request *bundle.Request, err error) (*bundle.Request, agentclient.Outcome) {
	if err != nil {
		return &bundle.Request{}, agentclient.Outcome{Cause: agentclient.BadInput, Err: err}
	}
	raw, err := request.Marshal()
	if err != nil {
		return request, agentclient.Outcome{Cause: agentclient.BadInput, Err: err}
	}
	outcome := now.send(ctx, raw)
	if outcome.Cause == agentclient.Acknowledged && request.InitPid != 0 {
		s.acknowledged(request)
	}
	return request, outcome
}

// adopt takes in what runs already, as late, and announces what has been created and
// does not run yet. Nobody waits for it.
func (s *session) adopt(pods []*api.PodSandbox, containers []*api.Container) {
	runtime, of, _ := s.kind()
	var work []func()
	byID := map[string]*api.PodSandbox{}
	for _, pod := range pods {
		byID[pod.GetId()] = pod
		if of.pods && pod.GetPid() != 0 && !s.knows(pod.GetId()) {
			work = append(work, func() {
				request, err := translateSandbox(runtime, pod)
				s.introduce("adopt-sandbox", request, err, true)
			})
		}
	}
	for _, c := range containers {
		state := c.GetState()
		if state == api.ContainerState_CONTAINER_STOPPED || s.knows(c.GetId()) {
			continue
		}
		created := state == api.ContainerState_CONTAINER_CREATED
		if created && c.GetLinux().GetCgroupsPath() == "" || !created && c.GetPid() == 0 {
			continue // there is nothing yet to find it by, or nothing any more
		}
		work = append(work, func() {
			request, err := s.request(byID[c.GetPodSandboxId()], c)
			if err == nil && created {
				// It is announced, and who confirms it is its start: only then it is known
				// whether it was in time.
				request.InitPid = 0
			}
			s.introduce("adopt", request, err, !created)
		})
	}
	s.inBackground(work)
}

// introduce tells the agent of a container that nobody waits for.
func (s *session) introduce(event string, request *bundle.Request, err error, late bool) {
	if s.life.Err() != nil {
		return
	}
	now := s.terms()
	ctx, cancel := context.WithTimeout(s.life, now.Deadline)
	defer cancel()
	s.inform(ctx, now, event, request, err, late)
}

// inform tells the agent of a container that goes on whatever comes of it. The agent
// hears from the spool of what it did not answer for.
func (s *session) inform(ctx context.Context, now terms, event string, request *bundle.Request, err error, late bool) {
	if err == nil {
		request.Late = late
	}
	request, outcome := s.ask(ctx, now, request, err)
	decision := agentclient.Decision{Start: true, Late: late, Reason: "sealed"}
	switch {
	case unanswered(outcome):
		decision.Late, decision.Reason = true, outcome.Err.Error()
		if request.InitPid != 0 && s.life.Err() == nil {
			s.leave(now, request)
		}
	case outcome.Cause != agentclient.Acknowledged:
		decision.Start, decision.Reason = false, outcome.Err.Error()
	}
	s.tell(ctx, event, request, outcome, decision)
}

// unanswered tells whether an agent may answer otherwise later.
func unanswered(o agentclient.Outcome) bool {
	return o.Cause == agentclient.Unreachable || o.Cause == agentclient.NoAnswer || o.Cause == agentclient.NotSealed
}

// leave writes a container down for the agent.
func (s *session) leave(now terms, request *bundle.Request) {
	if err := now.spool(request); err != nil {
		s.log.Error("write container down for the agent", "container_id", request.ID, "error", err)
	}
}
