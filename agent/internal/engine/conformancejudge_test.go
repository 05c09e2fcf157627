// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

// document is a policy of these hooks of a section.
func document(section string, hooks ...string) string {
	return "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: conformance}\nspec:\n  " + section + ":\n  - " +
		strings.Join(hooks, "\n  - ") + "\n"
}

// judges is an engine whose programs are run by the test, and what it compiles for.
type judges struct {
	*rig
	kernel conformanceKernel
}

// conformanceKernel has the namespaces of this machine, and words of a kprobe where a
// test run has room for them.
type conformanceKernel struct {
	compiletest.Kernel
	// hosts are the namespaces that the test began in.
	hosts map[policy.Namespace]uint32
	// away: the host's user namespace is another one.
	away bool
}

// HostNamespace is the one that the test began in.
func (k conformanceKernel) HostNamespace(n policy.Namespace) (uint32, error) {
	if k.away && n == policy.NamespaceUser {
		return k.hosts[n] + 1, nil
	}
	return k.hosts[n], nil
}

// hostNamespaces are those that the test began in, and takes for the host's: those of
// the first process are not for everybody to see.
func hostNamespaces(t *testing.T) map[policy.Namespace]uint32 {
	t.Helper()
	all := map[policy.Namespace]uint32{}
	for n := policy.NamespaceUts; n <= policy.NamespaceUser; n++ {
		inode, err := namespaceInode("/proc/thread-self/ns/", n)
		if err != nil {
			t.Fatal(err)
		}
		all[n] = inode
	}
	return all
}

func namespaceInode(dir string, n policy.Namespace) (uint32, error) {
	names := [...]string{
		policy.NamespaceUts: "uts", policy.NamespaceIpc: "ipc", policy.NamespaceMnt: "mnt", policy.NamespacePid: "pid",
		policy.NamespacePidForChildren: "pid_for_children", policy.NamespaceNet: "net", policy.NamespaceTime: "time",
		policy.NamespaceTimeForChildren: "time_for_children", policy.NamespaceCgroup: "cgroup", policy.NamespaceUser: "user",
	}
	target, err := os.Readlink(dir + names[n])
	if err != nil {
		return 0, err
	}
	var inode uint32
	_, err = fmt.Sscanf(target[strings.Index(target, "["):], "[%d]", &inode)
	return inode, err
}

func newJudges(t *testing.T) *judges {
	t.Helper()
	r := &rig{t: t, Engine: openBare(t, unattached{}), ancestors: ancestry(t)}
	r.pin()
	r.maps.entry = func(compile.SiteKind) string { return bpf.SiteProgRawEvent }
	r.maps.options.Agent = 0 // this process is signalled as any other
	var err error
	if r.binary, err = os.Readlink("/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	if r.ring, err = ringbuf.NewReader(r.maps.coll.Maps[bpf.SiteMapEvents]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.ring.Close() })
	return &judges{r, conformanceKernel{hosts: hostNamespaces(t), Kernel: compiletest.Kernel{
		Events: map[string][]compile.Field{}, Prototypes: map[string]compile.Prototype{}, Members: map[string]compile.Member{},
	}}}
}

// trial is how a policy is tried.
type trial struct {
	// context is what the program of the policy's site is run with, value what its
	// reads give then.
	context []uint64
	value   func(compile.Read) compile.Value
	// workloads are those that the process is of.
	workloads policy.WorkloadSet
	// enforce: the policy enforces.
	enforce bool
}

// verdict is how a selector was judged by the plain evaluation and by the kernel.
type verdict struct{ plain, kernel bool }

// load compiles a policy and puts it in force, alone.
func (j *judges) load(t *testing.T, text string, of trial) PolicyID {
	t.Helper()
	return j.loadFor(t, j.kernel, text, of)
}

// loadFor is load for a kernel.
func (j *judges) loadFor(t *testing.T, k compile.Kernel, text string, of trial) PolicyID {
	t.Helper()
	p, err := policy.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	compiled, err := compile.Compile(p, k)
	if err != nil {
		t.Fatal(err)
	}
	id, err := j.Load(compiled)
	if err != nil {
		t.Fatal(err)
	}
	in := Assignment{Slots: []uint32{0}, Set: []Member{{id, of.enforce}}, Workloads: map[PolicyID]policy.WorkloadSet{id: of.workloads}}
	if err := j.Apply([]Assignment{in}, true); err != nil {
		t.Fatal(err)
	}
	return id
}

// try runs the program of the site that a policy's hooks are at.
func (j *judges) try(t *testing.T, id PolicyID, context []uint64) {
	t.Helper()
	at := j.hooksOf(id)[0].site
	if _, err := at.program.coll.Programs[bpf.SiteProgRawEvent].Run(&ebpf.RunOptions{Context: context}); err != nil {
		t.Fatal(err)
	}
}

// hooksOf are the hooks of a policy but those that do what others ask for.
func (j *judges) hooksOf(id PolicyID) []loadedHook {
	return slices.DeleteFunc(slices.Clone(j.policies[id].hooks), func(h loadedHook) bool { return h.hook.Section == policy.Enforcers })
}

// judge puts a policy in force, runs its site's program, and gives the verdicts by
// the selectors of all hooks in their order.
func (j *judges) judge(t *testing.T, text string, of trial) []verdict {
	t.Helper()
	id := j.load(t, text, of)
	j.try(t, id, of.context)
	return j.verdicts(id, of)
}

// verdicts are those of the last run.
func (j *judges) verdicts(id PolicyID, of trial) (verdicts []verdict) {
	matching := j.matching()
	selectors := 0
	for _, h := range j.hooksOf(id) {
		values := make([]compile.Value, len(h.hook.Reads))
		for i, read := range h.hook.Reads {
			values[i] = of.value(read)
		}
		for i := range h.hook.Rules {
			rule := &h.hook.Rules[i]
			for len(verdicts) <= selectors+rule.Selector {
				verdicts = append(verdicts, verdict{})
			}
			plain := of.workloads.Has(rule.Workload) && rule.Matches(h.hook, values, of.enforce)
			verdicts[selectors+rule.Selector] = verdict{plain, compile.Has(matching, h.first+i)}
		}
		selectors = len(verdicts)
	}
	return verdicts
}
