// SPDX-License-Identifier: Apache-2.0

// Package match decides which policies are for which container. It is pure;
// package policy documents the meaning of the selectors.
package match

import (
	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/policy"
)

const (
	// namespaceKey is the key under which a podSelector sees the pod's namespace.
	namespaceKey = "k8s:io.kubernetes.pod.namespace"

	nameKey = "name"
	repoKey = "repo"
	// runtimeKey and engineNamespaceKey are own keys: the mark before the name keeps
	// them apart from labels.
	runtimeKey         = "boltseal:runtime"
	engineNamespaceKey = "boltseal:namespace"
)

// NodeLabels are the labels of this node.
type NodeLabels map[string]string

// Lookup is policy.Labels.
func (n NodeLabels) Lookup(key string) (string, bool) {
	value, ok := n[key]
	return value, ok
}

// SelectsNode tells whether p is for a node with certain labels.
func SelectsNode(p *policy.Policy, labels NodeLabels) bool {
	return p.NodeSelector == nil || p.NodeSelector.Matches(labels)
}

// Selects tells whether p is for c, on a node that it is for. It allocates nothing, as it is asked for
// every policy with every container.
func Selects(p *policy.Policy, c *container.Container) bool {
	if p.Kind == policy.Namespaced && (c.Pod == nil || c.Pod.Namespace != p.Namespace) {
		return false
	}
	return selects(p.PodSelector, p.ContainerSelector, p.HostSelector, c)
}

func selects(pod, ctr *policy.LabelSelector, host bool, c *container.Container) bool {
	if pod == nil && ctr == nil {
		// With the host alone selected, containers are not meant.
		return !host
	}
	if pod != nil && (c.Pod == nil || !pod.Matches((*podLabels)(c.Pod))) {
		return false
	}
	if c.Sandbox {
		// What a policy says of the containers that people run is not meant for it.
		return ctr == nil || ctr.Empty()
	}
	return ctr == nil || ctr.Matches((*containerLabels)(c))
}

// Workloads is which of p's workloads c is of.
func Workloads(p *policy.Policy, c *container.Container) policy.WorkloadSet {
	return workloads(p, func(w *policy.Workload) bool {
		return selects(w.PodSelector, w.ContainerSelector, w.HostSelector, c)
	})
}

// HostWorkloads is which of p's workloads the processes are of that are in no
// container.
func HostWorkloads(p *policy.Policy) policy.WorkloadSet {
	return workloads(p, func(w *policy.Workload) bool {
		return w.HostSelector || w.PodSelector == nil && w.ContainerSelector == nil
	})
}

// AllWorkloads is which of p's workloads every container is of, whatever it is.
func AllWorkloads(p *policy.Policy) policy.WorkloadSet {
	return workloads(p, func(w *policy.Workload) bool {
		return selectsAll(w.PodSelector, w.ContainerSelector, w.HostSelector)
	})
}

func workloads(p *policy.Policy, of func(*policy.Workload) bool) (set policy.WorkloadSet) {
	for i := range p.Workloads {
		if of(&p.Workloads[i]) {
			set = set.With(i + 1)
		}
	}
	return set
}

// SelectsHost tells whether p is for the processes that are in no container.
func SelectsHost(p *policy.Policy) bool {
	if p.Kind == policy.Namespaced {
		return false
	}
	return p.HostSelector || p.PodSelector == nil && p.ContainerSelector == nil
}

// SelectsAll tells whether p is for every container whatever it is, so that it
// also holds for one that nothing is known about.
func SelectsAll(p *policy.Policy) bool {
	return p.Kind == policy.Cluster && selectsAll(p.PodSelector, p.ContainerSelector, p.HostSelector)
}

func selectsAll(pod, ctr *policy.LabelSelector, host bool) bool {
	return pod == nil && (ctr == nil && !host || ctr != nil && ctr.Empty())
}

// podLabels are the keys of a podSelector.
type podLabels container.Pod

// Lookup is policy.Labels.
func (p *podLabels) Lookup(key string) (string, bool) {
	// A label of this name must not pass for the namespace.
	if key == namespaceKey {
		return p.Namespace, true
	}
	value, ok := p.Labels[key]
	return value, ok
}

// containerLabels are the keys of a containerSelector.
type containerLabels container.Container

// Lookup is policy.Labels.
func (c *containerLabels) Lookup(key string) (string, bool) {
	switch key {
	case nameKey:
		return c.Name, true
	case repoKey:
		return container.Repo(c.Image), true
	case runtimeKey:
		return c.Runtime, true
	case engineNamespaceKey:
		return (*container.Container)(c).Namespace(), true
	}
	if value, ok := c.Labels[key]; ok {
		return value, true
	}
	value, ok := c.Annotations[key]
	return value, ok
}
