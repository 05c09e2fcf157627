// SPDX-License-Identifier: Apache-2.0

package match

import (
	"fmt"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/policy"
)

func parse(t testing.TB, kind, selectors string) *policy.Policy {
	t.Helper()
	namespace := ""
	if kind == "TracingPolicyNamespaced" {
		namespace = ", namespace: prod"
	}
	p, err := policy.Parse(fmt.Appendf(nil, "apiVersion: cilium.io/v1alpha1\nkind: %s\nmetadata: {name: p%s}\nspec: {%s, "+
		"tracepoints: [{subsystem: s, event: e}]}\n", kind, namespace, selectors))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The containers of the table, in the order of its columns.
func columns() []*container.Container {
	return []*container.Container{
		{ID: "bare", Runtime: "docker", Bundle: "/run/containerd/io.containerd.runtime.v2.task/moby/bare"},
		{
			ID: "web", Name: "web", Image: "localhost:5000/shop/web:1.2",
			Labels:      map[string]string{"team": "a", "both": "label"},
			Annotations: map[string]string{"both": "annotation", "io.kubernetes.cri.container-name": "web", "name": "other", "boltseal:runtime": "docker"},
			Bundle:      "/srv/moby/web",
		},
		{
			ID: "prod", Name: "app", Image: "docker.io/library/busybox",
			Pod: &container.Pod{Namespace: "prod", Labels: map[string]string{"app": "db", namespaceKey: "dev"}},
		},
		{ID: "dev", Name: "app", Pod: &container.Pod{Namespace: "dev", Labels: map[string]string{"app": "web"}}},
	}
}

// TestSandboxIsSelectedByItsPod: what a policy asks of a pod's containers does not
// take in the one that is none of them.
func TestSandboxIsSelectedByItsPod(t *testing.T) {
	t.Parallel()
	sandbox := &container.Container{
		ID: "pause", Name: "POD", Image: "example/pause:1", Labels: map[string]string{"team": "a"}, Sandbox: true,
		Pod: &container.Pod{Namespace: "prod", Labels: map[string]string{"app": "web"}},
	}
	for selectors, want := range map[string]bool{
		"podSelector: null":                             true,
		"podSelector: {}":                               true,
		"podSelector: {matchLabels: {app: web}}":        true,
		"podSelector: {matchLabels: {app: db}}":         false,
		"containerSelector: {}":                         true,
		"containerSelector: {}, podSelector: {}":        true,
		"containerSelector: {matchLabels: {name: POD}}": false,
		"containerSelector: {matchLabels: {team: a}}":   false,
		"containerSelector: {matchExpressions: [{key: name, operator: NotIn, values: [app]}]}":    false,
		"podSelector: {}, containerSelector: {matchExpressions: [{key: team, operator: Exists}]}": false,
		"hostSelector: {}": false,
	} {
		if got := Selects(parse(t, "TracingPolicy", selectors), sandbox); got != want {
			t.Errorf("%s: selected: %v, want %v", selectors, got, want)
		}
	}
}

func TestSelection(t *testing.T) {
	t.Parallel()
	const cluster, namespaced = "TracingPolicy", "TracingPolicyNamespaced"
	const none, all = "podSelector: null", "----"
	for _, c := range []struct {
		kind, selectors string
		// want has the host, then each column's initial where it is selected.
		want string
	}{
		{cluster, none, "h bwpd"},
		{cluster, "hostSelector: {}", "h ----"},
		{cluster, "podSelector: {}", "- --pd"},
		{cluster, "podSelector: {}, hostSelector: {}", "h --pd"},
		{cluster, "containerSelector: {}", "- bwpd"},
		{cluster, "containerSelector: {}, hostSelector: {}", "h bwpd"},
		{cluster, "containerSelector: {}, podSelector: {}", "- --pd"},
		{cluster, "podSelector: {matchLabels: {app: web}}", "- ---d"},
		{cluster, "podSelector: {matchLabels: {'k8s:io.kubernetes.pod.namespace': prod}}", "- --p-"},
		{cluster, "podSelector: {matchLabels: {'k8s:io.kubernetes.pod.namespace': dev}}", "- ---d"},
		{cluster, "podSelector: {matchLabels: {app: web, x: y}}", "- " + all},
		{cluster, "podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}", "- --p-"},
		{cluster, "podSelector: {matchExpressions: [{key: x, operator: NotIn, values: [web]}]}", "- --pd"},
		{cluster, "podSelector: {matchExpressions: [{key: app, operator: In, values: [db, web]}]}", "- --pd"},
		{cluster, "podSelector: {matchExpressions: [{key: app, operator: Exists}]}", "- --pd"},
		{cluster, "podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}", "- " + all},
		{cluster, "containerSelector: {matchLabels: {name: web}}", "- -w--"},
		{cluster, "containerSelector: {matchLabels: {name: other}}", "- " + all},
		{cluster, "containerSelector: {matchLabels: {repo: 'localhost:5000/shop/web'}}", "- -w--"},
		{cluster, "containerSelector: {matchExpressions: [{key: repo, operator: In, values: [docker.io/library/busybox]}]}", "- --p-"},
		{cluster, "containerSelector: {matchExpressions: [{key: name, operator: NotIn, values: [app]}]}", "- bw--"},
		{cluster, "containerSelector: {matchLabels: {'boltseal:runtime': docker}}", "- b---"},
		{cluster, "containerSelector: {matchLabels: {'boltseal:namespace': moby}}", "- b---"},
		{cluster, "containerSelector: {matchLabels: {team: a}}", "- -w--"},
		{cluster, "containerSelector: {matchLabels: {both: label}}", "- -w--"},
		{cluster, "containerSelector: {matchLabels: {both: annotation}}", "- " + all},
		{cluster, "containerSelector: {matchLabels: {io.kubernetes.cri.container-name: web}}", "- -w--"},
		{cluster, "containerSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}", "- b-pd"},
		{cluster, "containerSelector: {matchLabels: {name: app}}, podSelector: {matchLabels: {app: db}}", "- --p-"},
		{cluster, "containerSelector: {matchLabels: {name: web}}, podSelector: {}", "- " + all},
		{namespaced, none, "- --p-"},
		{namespaced, "podSelector: {}", "- --p-"},
		{namespaced, "containerSelector: {}", "- --p-"},
		{namespaced, "podSelector: {matchLabels: {app: web}}", "- " + all},
		{namespaced, "containerSelector: {matchLabels: {name: app}}", "- --p-"},
	} {
		t.Run(c.kind+" "+c.selectors, func(t *testing.T) {
			t.Parallel()
			p := parse(t, c.kind, c.selectors)
			got := []byte("- ----")
			if SelectsHost(p) {
				got[0] = 'h'
			}
			every := true
			for i, ctr := range columns() {
				if Selects(p, ctr) {
					got[2+i] = ctr.ID[0]
				} else {
					every = false
				}
			}
			if string(got) != c.want {
				t.Errorf("selects %q, want %q", got, c.want)
			}
			if SelectsAll(p) != every {
				t.Errorf("SelectsAll is %v, and of these containers it is %v", !every, every)
			}
		})
	}
}

// A selector's workload is read as the selectors of a policy are, whatever these
// say.
func TestWorkloads(t *testing.T) {
	t.Parallel()
	p, err := policy.Parse([]byte(`apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: p}
spec:
  tracepoints:
  - subsystem: s
    event: e
    selectors:
    - {matchWorkloads: {containerSelector: {matchLabels: {name: web}}}}
    - {matchWorkloads: {podSelector: {}}}
    - {matchWorkloads: {podSelector: {matchLabels: {app: db}}, containerSelector: {matchLabels: {name: app}}}}
    - {matchWorkloads: {hostSelector: {}}}
    - {matchWorkloads: {containerSelector: {}, hostSelector: {}}}
    - {matchWorkloads: {podSelector: {matchLabels: {app: web}}, hostSelector: {}}}
    - {matchWorkloads: {containerSelector: {}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	numbers := func(set policy.WorkloadSet) (all string) {
		for n := range p.Workloads {
			if set.Has(n + 1) {
				all += fmt.Sprint(n + 1)
			}
		}
		return all
	}
	got := []string{numbers(HostWorkloads(p)), numbers(AllWorkloads(p))}
	for _, c := range columns() {
		got = append(got, c.ID+" "+numbers(Workloads(p, c)))
	}
	// 4 is for the host alone, 6 for it and some pods.
	want := []string{"456", "57", "bare 57", "web 157", "prod 2357", "dev 2567"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("host, all and the containers are of %q, want %q", got, want)
	}
}

func TestSelectsAllocatesNothing(t *testing.T) {
	p := parse(t, "TracingPolicy", "podSelector: {matchLabels: {app: db}}, containerSelector: {matchLabels: {repo: docker.io/library/busybox}}")
	c := columns()[2]
	if !Selects(p, c) {
		t.Fatal("not selected")
	}
	if n := testing.AllocsPerRun(100, func() { Selects(p, c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSelects(b *testing.B) {
	p := parse(b, "TracingPolicy", "podSelector: {matchLabels: {app: db}}, containerSelector: {matchLabels: {repo: docker.io/library/busybox}}")
	c := columns()[2]
	for b.Loop() {
		Selects(p, c)
	}
}
