// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// selection is a policy's selector with containers on both sides of it. M
// stands for a word that nobody else uses, in all of it.
type selection struct {
	name string
	// spec is the selectors of the policy, and kind its kind if it is not
	// TracingPolicy; a namespaced one is in namespace ns-M.
	spec, kind string
	// is are requests for containers that are selected, not for others.
	is, not []*tetragon.CreateContainer
}

func selections() []selection {
	type request = tetragon.CreateContainer
	pod := func(namespace string, labels map[string]string) *request {
		return &request{PodName: "pod", PodUID: "uid", PodNamespace: namespace, PodLabels: labels}
	}
	app := func(value string) map[string]string { return map[string]string{"app": value} }
	return []selection{
		{name: "the container's name", spec: "containerSelector: {matchLabels: {name: web-M}}",
			is: []*request{{ContainerName: "web-M"}}, not: []*request{{ContainerName: "web-M2"}, {Annotations: map[string]string{"name": "web-M"}}}},
		{name: "the image without its tag", spec: "containerSelector: {matchLabels: {repo: registry.example/M}}",
			is:  []*request{{ContainerImage: "registry.example/M:1.2"}, {ContainerImage: "registry.example/M@sha256:" + strings.Repeat("0", 64)}},
			not: []*request{{ContainerImage: "registry.example/M/other:1.2"}, {ContainerImage: ""}}},
		{name: "a label", spec: "containerSelector: {matchLabels: {app: M}}",
			is: []*request{{Labels: app("M")}}, not: []*request{{Labels: app("N-M")}, {PodName: "p", PodUID: "u", PodLabels: app("M")}}},
		{name: "an annotation", spec: "containerSelector: {matchLabels: {app: M}}",
			is: []*request{{Annotations: app("M")}}, not: []*request{{Annotations: app("N-M")}, {Annotations: app("M"), Labels: app("N-M")}}},
		{name: "expressions", spec: "containerSelector: {matchExpressions: [{key: app, operator: In, values: [M, also-M]}, {key: canary, operator: DoesNotExist}]}",
			is:  []*request{{Labels: app("M")}, {Labels: app("also-M")}},
			not: []*request{{Labels: map[string]string{"app": "M", "canary": ""}}, {}}},
		{name: "a pod's label", spec: "podSelector: {matchLabels: {app: M}}",
			is: []*request{pod("default", app("M"))}, not: []*request{pod("default", app("N-M")), {Labels: app("M")}, {Annotations: app("M")}}},
		{name: "a pod's namespace", spec: "podSelector: {matchLabels: {\"k8s:io.kubernetes.pod.namespace\": ns-M}}",
			is: []*request{pod("ns-M", nil)}, not: []*request{pod("ns-other", nil), {}}},
		{name: "a pod and a container", spec: "podSelector: {matchLabels: {app: M}}\ncontainerSelector: {matchLabels: {name: web}}",
			is:  []*request{{PodName: "p", PodUID: "u", PodNamespace: "d", PodLabels: app("M"), ContainerName: "web"}},
			not: []*request{{PodName: "p", PodUID: "u", PodNamespace: "d", PodLabels: app("M"), ContainerName: "db"}, {ContainerName: "web"}}},
		{name: "a namespaced policy", kind: "TracingPolicyNamespaced", spec: "",
			is: []*request{pod("ns-M", nil), pod("ns-M", app("M"))}, not: []*request{pod("default", nil), {}}},
		{name: "a namespaced policy with a selector", kind: "TracingPolicyNamespaced", spec: "podSelector: {matchLabels: {app: M}}",
			is: []*request{pod("ns-M", app("M"))}, not: []*request{pod("ns-M", app("N-M")), pod("default", app("M"))}},
	}
}

// TestSelectors starts containers that a policy selects, and others, by what a
// hook tells of them.
func TestSelectors(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	t.Run("each", func(t *testing.T) {
		for i, test := range selections() {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				mark := agentenv.Mark()
				agent.Policy(t, test.policy(fmt.Sprintf("select-%d", i), mark))
				for _, request := range test.is {
					runAs(t, agent, marked(request, mark), 1)
				}
				for _, request := range test.not {
					runAs(t, agent, marked(request, mark), 0)
				}
			})
		}
	})
}

// policy writes the policy with its own word for M.
func (s selection) policy(name, mark string) string {
	points := agentenv.Opens("[{matchArgs: [{args: [0], operator: Equal, values: [/etc/shadow]}], matchActions: [{action: Sigkill}]}]")
	text := agentenv.PolicyFor(name, strings.ReplaceAll(s.spec, "M", mark), points...)
	if s.kind != "" {
		text = strings.Replace(text, "kind: TracingPolicy", "kind: "+s.kind, 1)
		text = strings.Replace(text, "metadata:", "metadata:\n  namespace: ns-"+mark, 1)
	}
	return text
}

// marked is the request with its own word for M.
func marked(request *tetragon.CreateContainer, mark string) *tetragon.CreateContainer {
	out := proto.CloneOf(request)
	replace := func(s *string) { *s = strings.ReplaceAll(*s, "M", mark) }
	for _, s := range []*string{&out.ContainerName, &out.ContainerImage, &out.PodNamespace} {
		replace(s)
	}
	for _, m := range []map[string]string{out.Labels, out.Annotations, out.PodLabels} {
		for key, value := range m {
			m[key] = strings.ReplaceAll(value, "M", mark)
		}
	}
	return out
}

// runAs announces a container, runs it, and expects it to be held by that many policies.
func runAs(t *testing.T, agent *agentenv.Agent, request *tetragon.CreateContainer, policies int) {
	t.Helper()
	c := testenv.Bundle(t, testenv.Spec{Args: []string{"/bin/cat", "/etc/shadow"}})
	request.ContainerID = c.ID
	if err := agent.Announce(t.Context(), request); err != nil {
		t.Fatalf("announce %s: %v", request, err)
	}
	if known := agent.Container(t, c.ID); len(known.GetPolicies()) != policies {
		t.Errorf("%s: policies %q, want %d", request, known.GetPolicies(), policies)
	}
	result := testenv.NewRunc(t).Run(t.Context(), c)
	if want := policies * killed; result.Code != want || leaked(result.Stdout) != (policies == 0) {
		t.Errorf("%s: %s; want status %d", request, result, want)
	}
}

// TestHookTellsWhatTheBundleSays: selectors hold for what the hook finds in a
// bundle's annotations as for what a client tells.
func TestHookTellsWhatTheBundleSays(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	hook := agent.Hook(t)
	mark := agentenv.Mark()
	annotations := map[string]string{
		"io.kubernetes.cri.container-name":    "web-" + mark,
		"io.kubernetes.cri.image-name":        "registry.example/" + mark + ":1",
		"io.kubernetes.cri.sandbox-name":      "pod-" + mark,
		"io.kubernetes.cri.sandbox-uid":       "uid-" + mark,
		"io.kubernetes.cri.sandbox-namespace": "ns-" + mark,
	}
	for i, spec := range []string{
		"containerSelector: {matchLabels: {name: web-" + mark + "}}",
		"containerSelector: {matchLabels: {repo: registry.example/" + mark + "}}",
		"containerSelector: {matchLabels: {io.kubernetes.cri.sandbox-name: pod-" + mark + "}}",
		"podSelector: {matchLabels: {\"k8s:io.kubernetes.pod.namespace\": ns-" + mark + "}}",
	} {
		name := fmt.Sprintf("bundle-%d", i)
		agent.Policy(t, selection{spec: spec}.policy(name, ""))
		for _, selected := range []bool{true, false} {
			bundle := testenv.Spec{Args: []string{"/bin/cat", "/etc/shadow"}, Hooks: hook.OCI(), Annotations: map[string]string{}}
			for key, value := range annotations {
				bundle.Annotations[key] = value
				if !selected {
					bundle.Annotations[key] = "other-" + value
				}
			}
			result := testenv.NewRunc(t).Run(t.Context(), testenv.Bundle(t, bundle))
			if leaked(result.Stdout) == selected || (result.Code == killed) != selected {
				t.Errorf("%s: selected %t, and %s", spec, selected, result)
			}
		}
		agent.Delete(t, name)
	}
}
