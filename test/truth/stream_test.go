// SPDX-License-Identifier: Apache-2.0

//go:build linux

package truth

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// told is one event about the life of a process.
type told struct {
	event           *tetragon.GetEventsResponse
	exit            *tetragon.ProcessExit // nil: an exec
	process, parent *tetragon.Process
	// since is when the process began to be what it is, in ns since boot, by its exec id.
	since uint64
}

// String is what failures show of an event.
func (t *told) String() string {
	what := "exec"
	if t.exit != nil {
		what = fmt.Sprintf("exit (%q, %d)", t.exit.GetSignal(), t.exit.GetStatus())
	}
	p := t.process
	args := p.GetArguments()
	if len(args) > 60 {
		args = args[:60] + "..."
	}
	return fmt.Sprintf("%s of %d (thread %d, uid %d) %q %q in %q [%s] id %s parent %s", what, p.GetPid().GetValue(),
		p.GetTid().GetValue(), p.GetUid().GetValue(), p.GetBinary(), args, p.GetCwd(), p.GetFlags(), plain(p.GetExecId()), plain(p.GetParentExecId()))
}

// stream is a stream's events of lives, in their order.
type stream struct {
	all  []*told
	byID map[string]*told // the execs
	of   map[uint32][]*told
}

func newStream(events []*tetragon.GetEventsResponse) (*stream, error) {
	s := &stream{byID: map[string]*told{}, of: map[uint32][]*told{}}
	for _, e := range events {
		t := &told{event: e}
		switch {
		case e.GetProcessExec() != nil:
			t.process, t.parent = e.GetProcessExec().GetProcess(), e.GetProcessExec().GetParent()
		case e.GetProcessExit() != nil:
			t.exit = e.GetProcessExit()
			t.process, t.parent = t.exit.GetProcess(), t.exit.GetParent()
		case e.GetRateLimitInfo() != nil:
			return nil, fmt.Errorf("the stream lost events: %v", e.GetRateLimitInfo())
		default:
			continue
		}
		_, since, pid, err := parts(t.process.GetExecId())
		if err != nil || pid != t.process.GetPid().GetValue() {
			return nil, fmt.Errorf("exec id %q of process %d: %w", t.process.GetExecId(), t.process.GetPid().GetValue(), err)
		}
		t.since = since
		if t.exit == nil {
			if twin := s.byID[t.process.GetExecId()]; twin != nil {
				return nil, fmt.Errorf("two execs with one id: %s; %s", twin, t)
			}
			s.byID[t.process.GetExecId()] = t
		}
		s.all = append(s.all, t)
		s.of[pid] = append(s.of[pid], t)
	}
	return s, nil
}

// parts takes an exec id apart.
func parts(id string) (node string, since uint64, pid uint32, err error) {
	words := strings.Split(plain(id), ":")
	if len(words) < 3 {
		return "", 0, 0, fmt.Errorf("it has %d parts", len(words))
	}
	n := len(words)
	if since, err = strconv.ParseUint(words[n-2], 10, 64); err != nil {
		return "", 0, 0, err
	}
	p, err := strconv.ParseUint(words[n-1], 10, 32)
	return strings.Join(words[:n-2], ":"), since, uint32(p), err
}

func plain(id string) string {
	text, err := base64.StdEncoding.DecodeString(id)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return string(text)
}
