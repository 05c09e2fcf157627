// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// askAgent asks for the status that most checks need.
func (r *run) askAgent(ctx context.Context) {
	ctx, cancel := r.call(ctx)
	defer cancel()
	answer, err := r.Agent.GetStatus(ctx, &boltseal.GetStatusRequest{})
	if err != nil {
		text := status.Convert(err).Message()
		if r.Unreachable != nil {
			text = r.Unreachable(ctx, err)
		}
		r.tell("agent", fail("%s", text).but("start boltseald: nothing is sealed without it"))
		return
	}
	r.status = answer
	up := r.Now().Sub(answer.GetStartedAt().AsTime()).Round(time.Second)
	r.tell("agent", ok("pid %d at %s, up %s since %s", answer.GetPid(), r.Address, up,
		answer.GetStartedAt().AsTime().UTC().Format(time.RFC3339)))
}

func (r *run) lookAtAgent(ctx context.Context) {
	if r.status != nil {
		r.tell("agent health", r.health(ctx))
		r.tell("agent version", r.sameVersion("the agent", r.status.GetVersion(), "restart boltseald"))
		r.tell("agent socket", r.socket())
	}
}

func (r *run) health(ctx context.Context) finding {
	ctx, cancel := r.call(ctx)
	defer cancel()
	answer, err := r.Agent.GetHealth(ctx, &tetragon.GetHealthStatusRequest{})
	if err != nil {
		return fail("ask for it: %s", status.Convert(err).Message())
	}
	for _, h := range answer.GetHealthStatus() {
		if h.GetStatus() != tetragon.HealthStatusResult_HEALTH_STATUS_RUNNING {
			return fail("not healthy: %s", h.GetDetails()).but("look at the agent's log")
		}
	}
	lost := r.status.GetEventsLost()
	if lost > 0 {
		return warn("running; %d events were lost on their way to it", lost).but("narrow the policies that report the most")
	}
	return ok("running, %d containers, %d policies, %d of %d places taken",
		r.status.GetContainers(), r.status.GetPolicies(), r.status.GetSlotsUsed(), r.status.GetSlotsMax())
}

// sameVersion compares another program's version with this one's.
func (r *run) sameVersion(whose, version, do string) finding {
	const untold = "unknown"
	switch {
	case version == untold || r.Version == untold:
		return warn("%s is %s and this program %s: they cannot be compared", whose, version, r.Version).but("build with make build")
	case version != r.Version:
		return fail("%s is %s and this program %s", whose, version, r.Version).but("install all programs of one version and %s", do)
	}
	return ok("%s, as this program's", version)
}

// socket judges who can get at the agent's socket or put another in its place.
func (r *run) socket() finding {
	path := strings.TrimPrefix(r.Address, "unix://")
	info, err := os.Stat(path)
	if err != nil {
		return fail("%v", err)
	}
	parent, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return fail("%v", err)
	}
	if f := exclusive(filepath.Dir(path), parent); f != nil {
		return f.but("make it root's and writable by root alone: who writes there can take the agent's place")
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fail("%s is no socket", path).but("restart boltseald")
	}
	if f := exclusive(path, info); f != nil {
		return f.but("restart boltseald, which makes it root's alone")
	}
	return ok("%s, mode %#o, root's", path, info.Mode().Perm())
}

// exclusive is what is wrong with a file that only root may write to; nil: nothing.
func exclusive(path string, info fs.FileInfo) *finding {
	var f finding
	switch st, known := info.Sys().(*syscall.Stat_t); {
	case !known || st.Uid != uint32(os.Geteuid()) && st.Uid != 0:
		f = fail("%s is not root's", path)
	case info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0:
		f = fail("%s has mode %#o: others than root may write to it", path, info.Mode().Perm())
	default:
		return nil
	}
	return &f
}
