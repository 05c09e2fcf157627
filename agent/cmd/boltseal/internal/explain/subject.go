// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// subjects is for whom a policy is.
func subjects(p *policy.Policy) []string {
	selects := p.PodSelector != nil || p.ContainerSelector != nil
	lines := []string{processes(p)}
	lines = append(lines, requirements(p.PodSelector, "the pod's ")...)
	lines = append(lines, requirements(p.ContainerSelector, "")...)
	switch {
	case selects && p.HostSelector:
		lines = append(lines, "and the processes of the host")
	case selects, p.Kind == policy.Namespaced:
		lines = append(lines, "not the host")
	}
	for _, node := range requirements(p.NodeSelector, "the node's ") {
		lines = append(lines, "only "+node)
	}
	if !p.HostSelector || selects {
		lines = append(lines, "in a container from its entrypoint on, in whatever it starts")
	}
	return lines
}

// processes is whose processes a policy is for, before labels choose among them.
func processes(p *policy.Policy) string {
	pods, containers := p.PodSelector, p.ContainerSelector
	switch {
	case p.Kind == policy.Namespaced:
		return fmt.Sprintf("containers of pods in the namespace %q", p.Namespace)
	case pods != nil:
		return "containers that are in a pod"
	case containers == nil && p.HostSelector:
		return "processes of the host, outside of containers"
	case containers == nil:
		return "every process: all containers, and the host"
	case containers.Empty():
		return "every container"
	}
	return "containers"
}

// workloadWords is where the processes of a workload are, of those that a policy is for.
func workloadWords(w policy.Workload) string {
	pods, containers := w.PodSelector, w.ContainerSelector
	const host = "of the host"
	if pods == nil && containers == nil {
		return host
	}
	text := "in a container"
	if pods != nil {
		text += " that is in a pod"
	}
	if all := append(requirements(pods, "the pod's "), requirements(containers, "")...); len(all) > 0 {
		text += " " + join(all, "and")
	}
	if w.HostSelector {
		text += ", or is " + host
	}
	return text
}

func requirements(s *policy.LabelSelector, whose string) []string {
	if s == nil {
		return nil
	}
	var lines []string
	for _, r := range s.Requirements {
		subject := whose + "label " + r.Key
		switch {
		case whose != "":
			if r.Key == "k8s:io.kubernetes.pod.namespace" {
				subject = whose + "namespace"
			}
		case r.Key == "name":
			subject = "the container's name"
		case r.Key == "repo":
			subject = "the image's repository"
		default:
			subject = "the label or annotation " + r.Key
		}
		switch values := listed(quoted(r.Values), "or"); r.Op {
		case policy.LabelIn:
			lines = append(lines, "where "+subject+" is "+values)
		case policy.LabelNotIn:
			lines = append(lines, "where "+subject+" is not "+values+", or is missing")
		case policy.LabelExists:
			lines = append(lines, "where "+subject+" is there")
		case policy.LabelDoesNotExist:
			lines = append(lines, "where "+subject+" is missing")
		}
	}
	return lines
}
