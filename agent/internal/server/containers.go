// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// RuntimeHook takes a container in. The answer says that it is sealed, or, when
// it does not exist yet, that it will be as it is made. Of one that is gone it
// forgets the announcement.
func (s *Server) RuntimeHook(_ context.Context, r *tetragon.RuntimeHookRequest) (*tetragon.RuntimeHookResponse, error) {
	if gone := r.GetRemoveContainer(); gone != nil {
		if err := s.Control.Withdraw(gone.GetContainerID()); err != nil {
			return nil, failure(err)
		}
		return &tetragon.RuntimeHookResponse{}, nil
	}
	a, err := Admission(r)
	if err != nil {
		return nil, failure(err)
	}
	made, err := s.Control.Admit(a)
	if err != nil {
		s.Log.Warn("container refused", "container", a.Container.ID, "error", err)
		return nil, failure(err)
	}
	s.Log.Info("container sealed", "container", made.ID, "name", made.Name, "cgroup_id", made.CgroupID,
		"cgroup", made.CgroupPath, "init", made.InitPID, "late", made.Late)
	return &tetragon.RuntimeHookResponse{}, nil
}

// sandboxName is what a pod's own container is called that nobody named.
const sandboxName = "POD"

// Admission translates a request that tells of a container.
func Admission(r *tetragon.RuntimeHookRequest) (control.Admission, error) {
	c := r.GetCreateContainer()
	if c == nil {
		return control.Admission{}, fmt.Errorf("%w request: event: no createContainer", control.ErrInvalid)
	}
	name := c.GetContainerName()
	if name == "" && c.GetSandbox() {
		name = sandboxName
	}
	a := control.Admission{
		CgroupsPath: c.GetCgroupsPath(),
		Container: container.Container{
			ID: c.GetContainerID(), Name: cmp.Or(name, c.GetContainerID()),
			Image: c.GetContainerImage(), Runtime: c.GetRuntime(), Bundle: c.GetBundle(), RootDir: c.GetRootDir(),
			InitPID: c.GetInitPid(), Labels: c.GetLabels(), Annotations: c.GetAnnotations(), Late: c.GetLate(),
			Privileged: c.Privileged, Sandbox: c.GetSandbox(),
		},
	}
	if c.GetPodName() != "" || c.GetPodUID() != "" {
		a.Container.Pod = &container.Pod{
			Name: c.GetPodName(), Namespace: c.GetPodNamespace(), UID: c.GetPodUID(),
			Labels: c.GetPodLabels(), Annotations: c.GetPodAnnotations(),
		}
	}
	return a, nil
}

// ListContainers lists the containers that are alive.
func (s *Server) ListContainers(_ context.Context, r *boltseal.ListContainersRequest) (*boltseal.ListContainersResponse, error) {
	response := &boltseal.ListContainersResponse{}
	for _, c := range s.Containers.List() {
		if !strings.HasPrefix(c.ID, r.GetIdPrefix()) {
			continue
		}
		shown, err := s.container(c)
		if err != nil {
			return nil, failure(err)
		}
		response.Containers = append(response.Containers, shown)
	}
	return response, nil
}

func (s *Server) container(c *container.Container) (*boltseal.Container, error) {
	slot := s.Kernel.Slot(c.Slot)
	out := &boltseal.Container{
		Id: c.ID, Name: c.Name, Image: c.Image, Runtime: c.Runtime, Namespace: c.Namespace(),
		CgroupId: cmp.Or(c.CgroupID, slot.CgroupId), CgroupPath: c.CgroupPath,
		InitPid: c.InitPID, Policies: s.Control.PoliciesOf(c.Slot), Labels: c.Labels, Annotations: c.Annotations,
		SealedNs: slot.SealedNs, FirstTaskNs: slot.FirstTaskNs, FirstExecNs: slot.FirstExecNs, ArmedNs: slot.ArmedNs,
		Tasks: slot.Tasks, Sandbox: c.Sandbox, EventsLost: s.Kernel.Lost(c.Slot), State: boltseal.ContainerState_CONTAINER_STATE_UNSEALED,
	}
	if s.Throttled != nil {
		out.EventsThrottled = s.Throttled(c.Slot)
	}
	out.Execs, out.RecentExecs = s.execs.get(c.ID, time.Now())
	if p := c.Pod; p != nil {
		out.Pod = &boltseal.Pod{Name: p.Name, Namespace: p.Namespace, Uid: p.UID, Labels: p.Labels}
	}
	if slot.State == uint32(bpf.WireSlotStateSLOT_EXPECTED) {
		out.State = boltseal.ContainerState_CONTAINER_STATE_EXPECTED
		return out, nil
	}
	sealed, ok, err := s.Kernel.SealedAs(out.CgroupId)
	if err != nil || !ok || sealed.Slot != c.Slot {
		return out, err
	}
	out.SealedBy = sealedBy(sealed, c)
	switch {
	case c.Late:
		out.State = boltseal.ContainerState_CONTAINER_STATE_LATE
	case slot.State == uint32(bpf.WireSlotStateSLOT_MAPPED):
		out.State = boltseal.ContainerState_CONTAINER_STATE_MAPPED
	case slot.State == uint32(bpf.WireSlotStateSLOT_ARMED):
		out.State = boltseal.ContainerState_CONTAINER_STATE_ARMED
	}
	return out, nil
}

func sealedBy(s bpf.WireCgroupSeal, c *container.Container) boltseal.SealedBy {
	switch bpf.WireSealedBy(s.By) {
	case bpf.WireSealedBySEALED_BY_PATH:
		return boltseal.SealedBy_SEALED_BY_EXPECTED_PATH
	case bpf.WireSealedBySEALED_BY_PATTERN:
		return boltseal.SealedBy_SEALED_BY_RUNTIME_PATTERN
	case bpf.WireSealedBySEALED_BY_AGENT:
		if c.Late {
			return boltseal.SealedBy_SEALED_BY_ADOPTION
		}
		return boltseal.SealedBy_SEALED_BY_HOOK
	}
	return boltseal.SealedBy_SEALED_BY_UNSPECIFIED
}
