// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"path"
	"slices"
	"strings"
)

// The engines that the hook can tell apart, as they stand in a request's
// runtime field.
const (
	engineContainerd = "containerd"
	engineCRIO       = "cri-o"
	enginePodman     = "podman"
	engineDocker     = "docker"
	engineNerdctl    = "nerdctl"
)

// keys are the annotations of one engine: for each field the keys that may hold
// it, the best first.
type keys struct {
	name, image, podName, podUID, podNamespace []string
	// sandbox tells by its value "sandbox" that the container is a pod's own.
	sandbox string
	// labels and annotations hold the container's (a sandbox's: the pod's)
	// labels and annotations as a JSON object of strings.
	labels, annotations string
}

// keysOf returns the annotation keys of an engine, empty for an engine that
// writes none, and for an unknown engine those of all.
func keysOf(engine string) keys {
	containerd := keys{
		name:         []string{"io.kubernetes.cri.container-name"},
		image:        []string{"io.kubernetes.cri.image-name", "io.kubernetes.cri.podsandbox.image-name"},
		podName:      []string{"io.kubernetes.cri.sandbox-name"},
		podUID:       []string{"io.kubernetes.cri.sandbox-uid"},
		podNamespace: []string{"io.kubernetes.cri.sandbox-namespace"},
		sandbox:      "io.kubernetes.cri.container-type",
	}
	crio := keys{
		name:         []string{"io.kubernetes.container.name", "io.kubernetes.cri-o.ContainerName"},
		image:        []string{"io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.Image"},
		podName:      []string{"io.kubernetes.pod.name", "io.kubernetes.cri-o.KubeName"},
		podUID:       []string{"io.kubernetes.pod.uid"},
		podNamespace: []string{"io.kubernetes.pod.namespace", "io.kubernetes.cri-o.Namespace"},
		sandbox:      "io.kubernetes.cri-o.ContainerType",
		labels:       "io.kubernetes.cri-o.Labels",
		annotations:  "io.kubernetes.cri-o.Annotations",
	}
	nerdctl := keys{name: []string{"nerdctl/name"}}
	switch engine {
	case engineContainerd:
		return containerd
	case engineCRIO:
		return crio
	case engineNerdctl:
		return nerdctl
	case enginePodman, engineDocker:
		return keys{}
	}
	return keys{
		name:         slices.Concat(containerd.name, crio.name, nerdctl.name),
		image:        slices.Concat(containerd.image, crio.image),
		podName:      slices.Concat(containerd.podName, crio.podName),
		podUID:       slices.Concat(containerd.podUID, crio.podUID),
		podNamespace: slices.Concat(containerd.podNamespace, crio.podNamespace),
		sandbox:      crio.sandbox,
		labels:       crio.labels,
		annotations:  crio.annotations,
	}
}

// engineOf tells which engine made a bundle, empty when it can not be told. The
// bundle's directory is asked first, since no pod can choose it.
func engineOf(bundleDir string, annotations map[string]string) string {
	if namespace, ok := shimNamespace(bundleDir); ok {
		switch {
		case namespace == "moby":
			return engineDocker
		case namespace != "k8s.io" && annotations["nerdctl/namespace"] != "":
			return engineNerdctl
		}
		return engineContainerd
	}
	// containers/storage serves Podman and CRI-O alike, and each signs.
	switch annotations["io.container.manager"] {
	case engineCRIO:
		return engineCRIO
	case "libpod":
		return enginePodman
	}
	return ""
}

// shimNamespace returns the containerd namespace of a bundle that a containerd
// shim made: .../io.containerd.runtime.v2.task/<namespace>/<id>.
func shimNamespace(bundleDir string) (string, bool) {
	namespaceDir := path.Dir(path.Clean(bundleDir))
	shim := path.Base(path.Dir(namespaceDir))
	if !strings.HasPrefix(shim, "io.containerd.runtime.") {
		return "", false
	}
	return path.Base(namespaceDir), true
}

// first returns the first value that is not empty among the given keys.
func first(annotations map[string]string, keys []string) string {
	for _, key := range keys {
		if value := annotations[key]; value != "" {
			return value
		}
	}
	return ""
}
