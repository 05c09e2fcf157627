// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// GetVersion tells the agent's version.
func (s *Server) GetVersion(context.Context, *tetragon.GetVersionRequest) (*tetragon.GetVersionResponse, error) {
	return &tetragon.GetVersionResponse{Version: s.Version}, nil
}

// ListDomains lists the one domain that all policies are in, whatever way they came.
func (s *Server) ListDomains(context.Context, *tetragon.ListDomainsRequest) (*tetragon.ListDomainsResponse, error) {
	return &tetragon.ListDomainsResponse{Domains: []string{domainGRPC}}, nil
}

// GetInfo tells the build, the settings, and what the kernel can do by the names that
// clients know.
func (s *Server) GetInfo(context.Context, *tetragon.GetInfoRequest) (*tetragon.GetInfoResponse, error) {
	response := &tetragon.GetInfoResponse{Version: s.Version, Name: "boltseal", Build: buildInfo()}
	for _, name := range slices.Sorted(maps.Keys(s.Probes)) {
		response.Probes = append(response.Probes, &tetragon.GetInfoResponse_Probe{
			Name: name, Enabled: wrapperspb.Bool(s.Probes[name]),
		})
	}
	for _, key := range slices.Sorted(maps.Keys(s.Settings)) {
		value, err := setting(s.Settings[key])
		if err != nil {
			return nil, failure(fmt.Errorf("setting %s: %w", key, err))
		}
		response.Conf = append(response.Conf, &tetragon.GetInfoResponse_ConfVal{Key: key, Value: value})
	}
	return response, nil
}

// setting is a value of the configuration in the message that protobuf has for its
// kind.
func setting(value any) (*anypb.Any, error) {
	var m proto.Message
	switch v := value.(type) {
	case bool:
		m = wrapperspb.Bool(v)
	case int64:
		m = wrapperspb.Int64(v)
	case string:
		m = wrapperspb.String(strings.ToValidUTF8(v, "\uFFFD"))
	case time.Duration:
		m = durationpb.New(v)
	case []string:
		list := &structpb.ListValue{}
		for _, one := range v {
			list.Values = append(list.Values, structpb.NewStringValue(strings.ToValidUTF8(one, "\uFFFD")))
		}
		m = list
	default:
		return nil, fmt.Errorf("a %T has no message", value)
	}
	return anypb.New(m)
}

func buildInfo() *tetragon.GetInfoResponse_BuildInfo {
	build := &tetragon.GetInfoResponse_BuildInfo{GoVersion: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			build.Commit = setting.Value
		case "vcs.time":
			build.Time = setting.Value
		case "vcs.modified":
			build.Modified = setting.Value
		}
	}
	return build
}

// GetEvents streams events until the client goes away. Headers are sent at once
// when the client is subscribed, so that it can wait for that.
func (s *Server) GetEvents(r *tetragon.GetEventsRequest, stream tetragon.FineGuidanceSensors_GetEventsServer) error {
	subscribed := func() error { return stream.SendHeader(nil) }
	return failure(s.Events.Stream(stream.Context(), r, subscribed, stream.Send))
}

// GetStatus tells what the agent and this kernel can do.
func (s *Server) GetStatus(context.Context, *boltseal.GetStatusRequest) (*boltseal.GetStatusResponse, error) {
	policies, err := s.Control.Policies()
	if err != nil {
		return nil, failure(err)
	}
	counts, err := s.Kernel.Errors()
	if err != nil {
		return nil, failure(err)
	}
	response := &boltseal.GetStatusResponse{
		Version:       s.Version,
		GoVersion:     runtime.Version(),
		KernelRelease: kernelRelease(),
		StartedAt:     timestamppb.New(s.Started),
		Pid:           uint32(os.Getpid()),
		CgroupRoot:    s.CgroupRoot,
		Containers:    uint32(s.Containers.Len()),
		Policies:      uint32(len(policies)),
		SlotsMax:      s.Kernel.Slots() - uint32(bpf.WireReservedSlotsSLOTS_RESERVED),
		KernelErrors:  map[string]uint64{},
		EventsLost:    new(counts[bpf.WireKernelErrorKERR_RING_FULL]),

		HostEventsLost: s.Kernel.Lost(uint32(bpf.WireReservedSlotsSLOT_HOST)),
	}
	names := KernelErrorNames()
	for i, count := range counts {
		response.KernelErrors[names[i]] = count
	}
	for slot := uint32(bpf.WireReservedSlotsSLOTS_RESERVED); slot < s.Kernel.Slots(); slot++ {
		if s.Kernel.Slot(slot).State != uint32(bpf.WireSlotStateSLOT_FREE) {
			response.SlotsUsed++
		}
	}
	response.KernelErrors[probesMissed] = 0
	for _, site := range s.Sites() {
		response.KernelErrors[probesMissed] += site.Missed
		response.Sites = append(response.Sites, &boltseal.Site{
			Name: site.Name, Rules: uint32(site.Rules), Programs: uint32(site.Programs), Attached: new(site.Programs > 0),
		})
	}
	for _, f := range s.Features {
		response.Features = append(response.Features, feature(f))
	}
	return response, nil
}

// probesMissed is what the kernel itself counts: calls that its probes have missed.
const probesMissed = "probe_missed"

func feature(f Feature) *boltseal.Feature {
	out := &boltseal.Feature{Name: f.Name, State: boltseal.FeatureState_FEATURE_STATE_AVAILABLE}
	if f.Err == nil {
		return out
	}
	out.Reason = f.Err.Error()
	out.State = boltseal.FeatureState_FEATURE_STATE_UNSUPPORTED
	if !f.Known {
		out.State = boltseal.FeatureState_FEATURE_STATE_UNKNOWN
	}
	return out
}

// KernelErrorNames is the names of enum kernel_error for people.
func KernelErrorNames() [bpf.WireKernelErrorKERR_MAX]string {
	return [bpf.WireKernelErrorKERR_MAX]string{
		bpf.WireKernelErrorKERR_SEALS_FULL:    "seals_full",
		bpf.WireKernelErrorKERR_NO_SLOT:       "no_slot",
		bpf.WireKernelErrorKERR_TASK_SEAL:     "task_seal",
		bpf.WireKernelErrorKERR_RING_FULL:     "ring_full",
		bpf.WireKernelErrorKERR_SIGNAL:        "signal",
		bpf.WireKernelErrorKERR_SCRATCH:       "scratch",
		bpf.WireKernelErrorKERR_RETRY:         "retry",
		bpf.WireKernelErrorKERR_PATH_DEPTH:    "path_depth",
		bpf.WireKernelErrorKERR_GUARDED:       "guarded",
		bpf.WireKernelErrorKERR_EXEC_MISSED:   "exec_missed",
		bpf.WireKernelErrorKERR_NOTICE:        "notice",
		bpf.WireKernelErrorKERR_MISSED:        "missed",
		bpf.WireKernelErrorKERR_LINEAGE:       "lineage",
		bpf.WireKernelErrorKERR_ORIGIN:        "origin",
		bpf.WireKernelErrorKERR_FILE_HASH:     "file_hash",
		bpf.WireKernelErrorKERR_CALL:          "call",
		bpf.WireKernelErrorKERR_RETURN_MISSED: "return_missed",
		bpf.WireKernelErrorKERR_ASIDE:         "aside",
		bpf.WireKernelErrorKERR_SOCK:          "sock",
	}
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	release, _, _ := strings.Cut(string(name.Release[:]), "\x00")
	return cmp.Or(release, "unknown")
}
