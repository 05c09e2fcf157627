// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/match"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// selects tells whether a policy is for the process of an event, and what decides
// where that is not known.
func selects(p *policy.Policy, r *record) (c compile.Certainty, missing []string) {
	if r.process == nil {
		return compile.Maybe, []string{"the process"}
	}
	node := &known{labels: r.nodeLabels, whole: len(r.nodeLabels) > 0}
	all := answers{c: compile.Yes}
	if p.NodeSelector != nil {
		all.and(p.NodeSelector, node, "the node's label ")
	}
	pod := r.process.GetPod()
	switch onHost := r.onHost(); {
	case onHost && match.SelectsHost(p):
		return all.c, all.missing
	case onHost, !mayContain(p, pod):
		return compile.No, nil
	}
	all.labels(p.PodSelector, p.ContainerSelector, pod)
	return all.c, all.missing
}

// onHost tells whether the process is in no container.
func (r *record) onHost() bool {
	return r.process.GetDocker() == "" && r.process.GetPod() == nil
}

// workload tells whether the process is of a workload of the policy's, by its number.
func workload(p *policy.Policy, number int, r *record) answers {
	all := answers{c: compile.Yes}
	if number == 0 {
		return all
	}
	w := p.Workloads[number-1]
	selects := w.PodSelector != nil || w.ContainerSelector != nil
	pod := r.process.GetPod()
	inPod := pod.GetName() != "" || pod.GetNamespace() != ""
	switch {
	case r.process == nil:
		return answers{compile.Maybe, []string{"the process"}}
	case r.onHost() && (w.HostSelector || !selects):
		return all
	case r.onHost(), w.HostSelector && !selects, w.PodSelector != nil && !inPod:
		return answers{c: compile.No}
	}
	all.labels(w.PodSelector, w.ContainerSelector, pod)
	return all
}

// labels asks for those of a pod and of its container.
func (a *answers) labels(pods, containers *policy.LabelSelector, pod *tetragon.Pod) {
	if pods != nil {
		a.and(pods, podLabels(pod), "the pod's label ")
	}
	if containers != nil {
		a.and(containers, containerLabels(pod), "the container's label or annotation ")
	}
}

// mayContain tells whether a policy can be for containers like that of a pod, which
// need not be one, whatever their labels.
func mayContain(p *policy.Policy, pod *tetragon.Pod) bool {
	inPod := pod.GetName() != "" || pod.GetNamespace() != ""
	switch {
	case p.Kind == policy.Namespaced:
		return inPod && pod.GetNamespace() == p.Namespace
	case p.PodSelector != nil:
		return inPod
	}
	return p.ContainerSelector != nil || !p.HostSelector
}

// answers are joined: all must hold.
type answers struct {
	c       compile.Certainty
	missing []string
}

func (a *answers) and(s *policy.LabelSelector, labels *known, whose string) {
	for _, r := range s.Requirements {
		labels.asked = false
		holds := (&policy.LabelSelector{Requirements: []policy.Requirement{r}}).Matches(labels)
		switch {
		case labels.asked:
			a.c = min(a.c, compile.Maybe)
			a.missing = append(a.missing, whose+r.Key)
		case !holds:
			a.c = compile.No
		}
	}
}

// join takes in another answer that must hold too.
func (a *answers) join(other answers) {
	a.c = min(a.c, other.c)
	a.missing = append(a.missing, other.missing...)
}

// known is labels of which not all need be known.
type known struct {
	labels map[string]string
	// whole: what is not among the labels is not there.
	whole bool
	// asked tells that a label was looked up that is not known.
	asked bool
}

// Lookup is policy.Labels.
func (k *known) Lookup(key string) (string, bool) {
	value, ok := k.labels[key]
	k.asked = k.asked || !ok && !k.whole
	return value, ok
}

func podLabels(pod *tetragon.Pod) *known {
	labels := map[string]string{}
	for key, value := range pod.GetPodLabels() {
		labels[key] = value
	}
	labels["k8s:io.kubernetes.pod.namespace"] = pod.GetNamespace()
	return &known{labels: labels, whole: true}
}

// containerLabels are what an event tells of a container: nothing of its labels
// and annotations.
func containerLabels(pod *tetragon.Pod) *known {
	labels := map[string]string{}
	if name := pod.GetContainer().GetName(); name != "" {
		labels["name"] = name
	}
	if image := pod.GetContainer().GetImage().GetName(); image != "" {
		labels["repo"] = container.Repo(image)
	}
	return &known{labels: labels}
}
