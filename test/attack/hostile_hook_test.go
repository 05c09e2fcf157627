// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"fmt"
	"math"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// create is a request to take a container in.
type create = tetragon.CreateContainer

// victim is a container that runs, which others would like to be.
func (r *rig) victim(t *testing.T) (*testenv.Container, *boltseal.Container) {
	t.Helper()
	box := testenv.Bundle(t, testenv.Spec{
		Args: []string{testenv.ActorPath, "sleep"}, Annotations: agentenv.Marked(r.mark), Hooks: r.hook.OCI(),
	})
	if result := r.runc.RunDetached(t.Context(), box); result.Code != 0 {
		t.Fatal(result)
	}
	testenv.Eventually(t, 10*time.Second, "the victim runs", said(box, "READY"))
	known := r.agent.Container(t, box.ID)
	if known == nil || known.GetInitPid() == 0 || len(known.GetPolicies()) != 1 {
		t.Fatalf("the victim is known as %s", known)
	}
	return box, known
}

// sleeper is a process of the host in a cgroup.
func sleeper(t *testing.T, in *testenv.Cgroup) int {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "1000")
	if in != nil {
		cmd = in.Born(cmd)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	return cmd.Process.Pid
}

// deadPid is the number of a process that has ended.
func deadPid(t *testing.T) uint32 {
	t.Helper()
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return uint32(cmd.Process.Pid)
}

// claim is a hostile request, and how it is refused.
type claim struct {
	name    string
	request *create
	code    codes.Code
	words   []string
}

// malformed is requests that are wrong whatever the host looks like.
func malformed() []claim {
	path := func(name, p string, words ...string) claim {
		return claim{"path " + name, &create{ContainerID: "hostile", CgroupsPath: p}, codes.InvalidArgument, append(words, "cgroupsPath")}
	}
	id := func(name, id string) claim {
		return claim{"id " + name, &create{ContainerID: id, CgroupsPath: "/hostile"}, codes.InvalidArgument, []string{"containerID"}}
	}
	return []claim{
		{"nothing", nil, codes.InvalidArgument, []string{"containerID"}},
		{"empty", &create{}, codes.InvalidArgument, []string{"containerID"}},
		path("of the root", "/", "root"),
		path("of the root, long", "/./././//", "root"),
		path("of a dot", ".", "root"),
		path("upwards", "..", "upwards"),
		path("upwards twice", "/../..", "upwards"),
		path("up and down", "/a/../../b", "upwards"),
		path("upwards in a unit", "system.slice:..:/../x", "upwards"),
		path("of 4 kB", "/"+strings.Repeat("a/", 2048), "4097 bytes"),
		path("of 1 MB", strings.Repeat("a/", 1<<19), "bytes"),
		path("with a long name", "/"+strings.Repeat("a", 256), "256 bytes"),
		path("too long to expect", "/"+strings.Repeat("a/", 300)+"b", "602 bytes"),
		path("with NUL", "/hostile\x00/b", "control character"),
		path("with newline", "/hostile\n0::/", "control character"),
		path("with escape", "/hostile\x1b[2J", "control character"),
		path("with C1 control", "/hostile\u009b2J", "control character"),
		id("with slash", "a/b"),
		id("of dots", ".."),
		id("of a dot", "."),
		id("of a slash", "/"),
		id("with NUL", "a\x00b"),
		id("with newline", "a\nb"),
		id("with escape", "a\x1b[2Jb"),
		id("of 1 kB", strings.Repeat("a", 1024)),
	}
}

// stolen is requests that claim what is somebody else's.
func stolen(t *testing.T, r *rig, victim *boltseal.Container, host, other, agents *testenv.Cgroup, below *testenv.Cgroup) []claim {
	t.Helper()
	of := func(name, id, path string, pid int, code codes.Code, words ...string) claim {
		return claim{name, &create{ContainerID: id, CgroupsPath: path, InitPid: uint32(pid)}, code, words}
	}
	const denied, invalid = codes.PermissionDenied, codes.InvalidArgument
	elsewhere := sleeper(t, other)
	return []claim{
		of("process 1", "hostile", "/hostile", 1, denied, "root"),
		of("a process in the root", "hostile", "/hostile", sleeper(t, nil), denied, "root"),
		of("the agent", "hostile", "/hostile", r.agent.Pid, denied, "holds the agent"),
		of("the agent by path", "hostile", agents.Path, 0, denied, "holds the agent"),
		of("the cgroup above the agent", "hostile", host.Path, 0, denied, "holds the agent"),
		of("a process above the agent", "hostile", "/hostile", sleeper(t, host), denied, "holds the agent"),
		of("a dead process", "hostile", "/hostile", int(deadPid(t)), invalid, "initPid"),
		of("no process", "hostile", "/hostile", math.MaxUint32, invalid, "initPid"),
		of("another container's process", "hostile", "/hostile", int(victim.GetInitPid()), denied, victim.GetId()),
		of("another container's cgroup", "hostile", victim.GetCgroupPath(), 0, denied, victim.GetId()),
		of("a cgroup below another container's", "hostile", below.Path, 0, denied, victim.GetId()),
		of("another container's id, by process", victim.GetId(), "/hostile", elsewhere, denied, victim.GetId(), victim.GetCgroupPath()),
		of("another container's id, by path", victim.GetId(), other.Path, 0, denied, victim.GetId(), victim.GetCgroupPath()),
		of("another container's id, to come", victim.GetId(), "/hostile", 0, denied, victim.GetId(), victim.GetCgroupPath()),
	}
}

// TestHostileRuntimeHook: whatever a client says of a container, it can claim
// neither the host's cgroups nor the agent's nor another container's, and a
// request that is refused leaves nothing.
func TestHostileRuntimeHook(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	r := newSecluded(t)
	r.agent.Policy(t, agentenv.KillShadow(r.policy, r.mark))
	host, other := testenv.TempCgroup(t), testenv.TempCgroup(t)
	agents := host.Child(t, "agent")
	if err := agents.Add(r.agent.Pid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before its cgroup is removed with all in it
		if err := r.agent.Stop(); err != nil {
			t.Error(err)
		}
	})
	box, victim := r.victim(t)
	below := (&testenv.Cgroup{Path: victim.GetCgroupPath(), Dir: testenv.Cgroup2Root(t) + victim.GetCgroupPath()}).Child(t, "below")
	claims := append(malformed(), stolen(t, r, victim, host, other, agents, below)...)
	before := r.state(t)
	for _, c := range claims {
		t.Run(c.name, func(t *testing.T) {
			refused(t, r.agent.Announce(t.Context(), c.request), c.code, c.words...)
			r.unchanged(t, before)
		})
	}
	for name, message := range broken() {
		t.Run(name, func(t *testing.T) {
			refused(t, raw(t.Context(), r.agent.Connect(t), methodHook, message), codes.Internal)
			r.unchanged(t, before)
		})
	}
	refused(t, raw(t.Context(), r.agent.Connect(t), methodHook, nil), codes.InvalidArgument, "event")
	if result := r.runc.Exec(t.Context(), box, "/bin/cat", secretFile); result.Code != 137 || strings.Contains(result.Stdout, testenv.Secret) {
		t.Errorf("exec in the victim: %s", result)
	}
	r.works(t)
	testenv.Report(t, "%d hostile requests to RuntimeHook refused, nothing of them applied", len(claims)+len(broken()))
}

// broken is bytes that are no request.
func broken() map[string][]byte {
	field := func(n protowire.Number, value string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), value)
	}
	request := func(fields ...[]byte) []byte {
		var all []byte
		for _, f := range fields {
			all = append(all, f...)
		}
		return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), all)
	}
	const path, id, annotations = 1, 5, 3
	deep := request()
	for range 20_000 {
		deep = request(deep) // unknown to the message, and nested in itself
	}
	return map[string][]byte{
		"path not UTF-8":        request(field(path, "/hostile\xff\xfe"), field(id, "hostile")),
		"id not UTF-8":          request(field(path, "/hostile"), field(id, "hostile\xc3\x28")),
		"annotation not UTF-8":  request(field(path, "/hostile"), field(id, "hostile"), field(annotations, string(append(field(1, "\xff"), field(2, "b")...)))),
		"a cut message":         request(field(path, "/hostile"))[:5],
		"a length without end":  protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.BytesType), math.MaxUint64),
		"random bytes":          []byte("\x8b\x1f\x00\xff\xfe\x07garbage"),
		"groups nested":         []byte(strings.Repeat("\x0b", 20_000)),
		"a path that is a list": request(protowire.AppendVarint(protowire.AppendTag(nil, id, protowire.VarintType), 7), field(id, "\xff")),
		"deep nesting":          append(deep, 0xff),
	}
}

// TestHugeRequests: what is large and well-formed is taken in, and what is too
// large for a message is refused.
func TestHugeRequests(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	r := newSecluded(t)
	r.agent.Policy(t, agentenv.KillShadow(r.policy, r.mark))
	before := r.state(t)
	many := map[string]string{}
	for i := range 10_000 {
		many[fmt.Sprintf("annotation-%d", i)] = strings.Repeat("a", 1400)
	}
	refused(t, r.agent.Announce(t.Context(), &create{ContainerID: "huge", CgroupsPath: "/huge", Annotations: many}),
		codes.ResourceExhausted, "larger than max")
	r.unchanged(t, before)
	for key := range many {
		many[key] = "value"
	}
	many[agentenv.MarkKey] = r.mark
	box := testenv.Bundle(t, testenv.Spec{Args: []string{"/bin/cat", secretFile}, Annotations: many, Hooks: r.hook.OCI()})
	result := r.runc.Run(t.Context(), box)
	if result.Code != 137 || strings.Contains(result.Stdout, testenv.Secret) {
		t.Errorf("container with %d annotations: code %d, %q; hook %.300q", len(many), result.Code, result.Stderr, r.hook.Lines(t))
	}
	r.works(t)
	r.settled(t)
}
