// SPDX-License-Identifier: Apache-2.0

package agentclient

import "github.com/boltseal/boltseal/hook/bundle"

// SubjectOf is what the fail policy's rules look at in a request; nothing where
// there is none.
func SubjectOf(r *bundle.Request) Subject {
	if r == nil {
		return Subject{}
	}
	return Subject{
		Image: r.Image, Name: r.Name, Namespace: r.PodNamespace,
		Annotations: merged(r.PodAnnotations, r.Annotations),
		Labels:      merged(r.PodLabels, r.Labels),
	}
}

// merged lays the container's own entries over its pod's.
func merged(pod, own map[string]string) map[string]string {
	if len(pod) == 0 {
		return own
	}
	all := make(map[string]string, len(pod)+len(own))
	for _, from := range []map[string]string{pod, own} {
		for key, value := range from {
			all[key] = value
		}
	}
	return all
}
