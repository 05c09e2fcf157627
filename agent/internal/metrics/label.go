// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/boltseal/boltseal/agent/internal/container"
)

// MaxLabelBytes is the most that a label value has.
const MaxLabelBytes = 128

// other is the label value of what found no room.
const other = "other"

// The labels of workloads, in their order.
const (
	labelNamespace = "namespace"
	labelWorkload  = "workload"
	labelPod       = "pod"
	labelContainer = "container"
	labelBinary    = "binary"
)

// LabelNames are the labels of workloads that can be chosen, in their order.
func LabelNames() []string {
	return []string{labelNamespace, labelWorkload, labelPod, labelContainer, labelBinary}
}

// chosen is the labels that were asked for, in their order.
func chosen(labels []string) []string {
	return slices.DeleteFunc(LabelNames(), func(name string) bool { return !slices.Contains(labels, name) })
}

// cut is a label value that begins with what somebody else chose: valid, printable
// and of at most MaxLabelBytes.
func cut(s string) string {
	if len(s) > MaxLabelBytes {
		s = s[:MaxLabelBytes] // what is cut off need not be cleaned
	}
	s = clean(s)
	for len(s) > MaxLabelBytes {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// cutPath is cut for paths, whose end tells more than their beginning.
func cutPath(s string) string {
	if len(s) > MaxLabelBytes {
		s = s[len(s)-MaxLabelBytes:]
	}
	s = clean(s)
	for len(s) > MaxLabelBytes {
		_, size := utf8.DecodeRuneInString(s)
		s = s[size:]
	}
	return s
}

// clean replaces what is no character, or one that a terminal would act by.
func clean(s string) string {
	if plain(s) {
		return s
	}
	bad := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
	return strings.Map(func(r rune) rune {
		if bad(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// plain tells whether a string is of printable ASCII, as nearly all are.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// workloadValues is a container's values of the labels, but for the binary.
func workloadValues(labels []string, c *container.Container) []string {
	values := make([]string, 0, len(labels))
	for _, label := range labels {
		value := ""
		switch {
		case label == labelBinary:
			continue
		case c == nil:
		case label == labelContainer:
			value = c.Name
		case c.Pod == nil:
		case label == labelNamespace:
			value = c.Pod.Namespace
		case label == labelPod:
			value = c.Pod.Name
		case label == labelWorkload:
			value = workload(c.Pod)
		}
		values = append(values, cut(value))
	}
	return values
}

// workload is the name of what made a pod, as far as the labels that Kubernetes
// gives the pods of its controllers tell; otherwise the pod's own.
func workload(p *container.Pod) string {
	if job := p.Labels["batch.kubernetes.io/job-name"]; job != "" {
		return job
	}
	if job := p.Labels["job-name"]; job != "" {
		return job
	}
	base, ok := withoutLast(p.Name)
	switch {
	case !ok:
		return p.Name
	case p.Labels["pod-template-hash"] != "":
		return strings.TrimSuffix(base, "-"+p.Labels["pod-template-hash"])
	case p.Labels["statefulset.kubernetes.io/pod-name"] != "", p.Labels["controller-revision-hash"] != "":
		return base
	}
	return p.Name
}

// withoutLast is a name without its last hyphen and what follows.
func withoutLast(name string) (before string, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return name, false
	}
	return name[:i], true
}
