// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/api/v1/boltseal"
)

const (
	// maxExecs is how many notices are kept of one container, execLife how long.
	maxExecs = 16
	execLife = 10 * time.Minute
	// maxExecText bounds each text of a notice that is kept, in bytes.
	maxExecText = 4096
)

// execs keeps what the agent was told of processes that enter containers. It is safe for
// concurrent use.
type execs struct {
	mu sync.Mutex
	// of has the live containers that notices came for, by id.
	of map[string]*execsOf
}

type execsOf struct {
	count  uint64
	recent []*boltseal.Exec // in the order of their time; never modified
}

// follow drops what is known of containers as they are removed, or replaced by others:
// their ids may come again.
func (e *execs) follow(registry *container.Registry) (cancel func()) {
	return registry.Subscribe(func(c container.Change) {
		same := c.Old == nil || c.Old.CgroupID == 0 || c.Old.CgroupID == c.New.CgroupID
		if c.New.Alive() && same {
			return
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.of, c.New.ID)
	})
}

// add keeps a notice, if alive, asked under the lock, says that the container lives.
func (e *execs) add(id string, x *boltseal.Exec, alive func() bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !alive() {
		return false
	}
	if e.of == nil {
		e.of = map[string]*execsOf{}
	}
	of := e.of[id]
	if of == nil {
		of = &execsOf{}
		e.of[id] = of
	}
	of.count++
	of.recent = append(recent(of.recent, x.GetTime().AsTime()), x)
	if over := len(of.recent) - maxExecs; over > 0 {
		of.recent = slices.Delete(of.recent, 0, over)
	}
	return true
}

// get returns the number of a container's notices and those of them that are recent.
func (e *execs) get(id string, now time.Time) (count uint64, last []*boltseal.Exec) {
	e.mu.Lock()
	defer e.mu.Unlock()
	of := e.of[id]
	if of == nil {
		return 0, nil
	}
	of.recent = recent(of.recent, now)
	return of.count, slices.Clone(of.recent)
}

// recent drops what is older than execLife.
func recent(list []*boltseal.Exec, now time.Time) []*boltseal.Exec {
	return slices.DeleteFunc(list, func(x *boltseal.Exec) bool { return now.Sub(x.GetTime().AsTime()) > execLife })
}

// ExecNotice writes down that a process is about to enter a container.
func (s *Server) ExecNotice(_ context.Context, r *boltseal.ExecNoticeRequest) (*boltseal.ExecNoticeResponse, error) {
	id := r.GetContainerId()
	switch {
	case id == "":
		return nil, failure(fmt.Errorf("%w notice: container_id: is missing", control.ErrInvalid))
	case r.GetRuntimePid() == 0:
		return nil, failure(fmt.Errorf("%w notice: runtime_pid: is missing", control.ErrInvalid))
	}
	x := &boltseal.Exec{
		Time: timestamppb.Now(), RuntimePid: r.GetRuntimePid(), Cwd: clip(r.GetCwd()), User: clip(r.GetUser()), Tty: r.GetTty(),
	}
	if args := r.GetArgs(); len(args) > 0 {
		x.Program = clip(args[0])
	}
	if !s.execs.add(id, x, func() bool { _, ok := s.Containers.ByID(id); return ok }) {
		return nil, failure(fmt.Errorf("notice: container %s: %w", id, control.ErrNotFound))
	}
	s.Log.Info("exec into a container", "container", id, "program", x.GetProgram(), "runtime_pid", x.GetRuntimePid())
	return &boltseal.ExecNoticeResponse{}, nil
}

// clip bounds a text that a caller sent.
func clip(s string) string {
	if len(s) <= maxExecText {
		return s
	}
	return strings.ToValidUTF8(s[:maxExecText], "")
}
