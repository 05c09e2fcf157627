// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// maxPods is how many containers' messages are kept; see maxProcesses.
const maxPods = 1024

// podOf is the container of a process, and its pod, with what is the process's own
// of it; nil for the host.
func (e *Enricher) podOf(p *process.Process, c *container.Container) *tetragon.Pod {
	if c == nil {
		return nil
	}
	shared, ok := e.pods[c]
	if !ok {
		if len(e.pods) >= maxPods {
			clear(e.pods)
		}
		shared = e.pod(c)
		// Not before it is there: a container that is announced has no start yet.
		if shared.GetContainer().GetStartTime() != nil || e.Started == nil || c.Late {
			e.pods[c] = shared
		}
	}
	of := shared.GetContainer()
	own := &tetragon.Container{
		Id: of.Id, Name: of.Name, Image: of.Image, StartTime: of.StartTime, SecurityContext: of.SecurityContext,
		MaybeExecProbe: e.maybeExecProbe(p, c),
	}
	if p.NSPid != 0 {
		own.Pid = wrapperspb.UInt32(p.NSPid)
	}
	return &tetragon.Pod{
		Namespace: shared.Namespace, Name: shared.Name, Uid: shared.Uid, PodLabels: shared.PodLabels,
		PodAnnotations: shared.PodAnnotations, Workload: shared.Workload, WorkloadKind: shared.WorkloadKind, Container: own,
	}
}

// pod is the part that all processes of a container share.
func (e *Enricher) pod(c *container.Container) *tetragon.Pod {
	m := &tetragon.Pod{Container: &tetragon.Container{Id: valid(c.ID), Name: valid(c.Name), Image: image(c)}}
	if e.Started != nil {
		if started := e.Started(c); started != 0 {
			m.Container.StartTime = e.time(started)
		}
	} else if !c.Late && !c.Added.IsZero() {
		// The agent learns of a container as it is made, unless it came late.
		m.Container.StartTime = timestamppb.New(c.Added)
	}
	if c.Privileged != nil {
		m.Container.SecurityContext = &tetragon.SecurityContext{Privileged: *c.Privileged}
	}
	if c.Pod != nil {
		m.Namespace, m.Name, m.Uid = valid(c.Pod.Namespace), valid(c.Pod.Name), valid(c.Pod.UID)
		m.PodLabels, m.PodAnnotations = validMap(c.Pod.Labels), validMap(c.Pod.Annotations)
		kind, name := workload(c.Pod)
		m.WorkloadKind, m.Workload = kind, valid(name)
	}
	return m
}

// maybeExecProbe tells of a process that a runtime has put into a container of a
// pod, as it does for exec probes and for kubectl exec: it has executed a program,
// its parent is not in the container, and it is not the container's first process.
// Nothing is told where pids do not show that it has entered the container's pid
// namespace: of what runtimes execute on the way in, and of pods with the host's.
func (e *Enricher) maybeExecProbe(p *process.Process, c *container.Container) bool {
	if c.Pod == nil || p.Flags&process.Exec == 0 || p.Key.Tgid == c.InitPID || p.NSPid <= 1 || p.NSPid == p.Key.Tgid {
		return false
	}
	parent, ok := e.Processes.ByExecID(p.ParentExecID)
	return ok && parent.Flags&process.Miss == 0 && e.container(parent.Slot, parent.CgroupID) != c
}

// workload is what made a pod, as far as its labels tell: a pod tells nothing of
// its owner, but controllers mark theirs. Both are empty for any other pod.
//
//	StatefulSet  statefulset.kubernetes.io/pod-name, the name without its number
//	Deployment   pod-template-hash, which is in the name before the last part
//	Job          batch.kubernetes.io/job-name or job-name, which have its name; a
//	             CronJob's Job is told as the Job that it is
//	DaemonSet    controller-revision-hash and pod-template-generation, which is a
//	             DaemonSet's alone
//
// A name is taken from that of the pod only where all of its form is right.
func workload(p *container.Pod) (kind, name string) {
	if name, ok := strings.CutSuffix(p.Name, "-"+ordinal(p.Name)); ok && p.Labels["statefulset.kubernetes.io/pod-name"] == p.Name {
		return "StatefulSet", name
	}
	for _, label := range []string{"batch.kubernetes.io/job-name", "job-name"} {
		if job := p.Labels[label]; job != "" && strings.HasPrefix(p.Name, job+"-") {
			return "Job", job
		}
	}
	// Controllers end the names of their pods with five random characters.
	owner, random, ok := cutLast(p.Name, "-")
	if !ok || len(random) != 5 {
		return "", ""
	}
	if hash := p.Labels["pod-template-hash"]; hash != "" {
		if deployment, ok := strings.CutSuffix(owner, "-"+hash); ok && deployment != "" {
			return "Deployment", deployment
		}
		return "", ""
	}
	if p.Labels["controller-revision-hash"] != "" && p.Labels["pod-template-generation"] != "" {
		return "DaemonSet", owner
	}
	return "", ""
}

// ordinal is the number that a name ends with, "-" when there is none.
func ordinal(name string) string {
	_, last, ok := cutLast(name, "-")
	if !ok || last == "" || strings.Trim(last, "0123456789") != "" {
		return "-"
	}
	return last
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i <= 0 {
		return "", "", false
	}
	return s[:i], s[i+len(sep):], true
}
