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
	onHost := r.process.GetDocker() == "" && pod == nil
	switch {
	case onHost && match.SelectsHost(p):
		return all.c, all.missing
	case onHost, !mayContain(p, pod):
		return compile.No, nil
	}
	if p.PodSelector != nil {
		all.and(p.PodSelector, podLabels(pod), "the pod's label ")
	}
	if p.ContainerSelector != nil {
		all.and(p.ContainerSelector, containerLabels(pod), "the container's label or annotation ")
	}
	return all.c, all.missing
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
