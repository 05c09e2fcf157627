// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/attach"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/test/testenv"
)

// pairsOfData is how many events are tried with paths into the kernel's memory.
const pairsOfData = 10_000

// The same where hooks follow pointers: from the current task, which files of /proc
// tell of, and from a word that leads to its thread group's leader or nowhere.
func TestChainsAreJudgedAlike(t *testing.T) {
	testenv.Require(t, testenv.Root(), testenv.BPF(), testenv.BTF())
	data := taskData(t)
	seed, tried, matched := *firstSeed, 0, 0
	for tried < min(pairsOfData, *pairs) && !t.Failed() {
		matched += judge(t, compiletest.NewData(seed, data), seed, setsOfOne)
		tried += setsOfOne * pairsOfOne
		seed++
	}
	t.Logf("%d pairs, %d rules matched", tried, matched)
	if matched < tried/10 {
		t.Errorf("only %d rules matched in %d pairs: the test shows nothing", matched, tried)
	}
}

// taskData is what is known of this thread, which keeps its processor from here on,
// and of the leader of its thread group.
func taskData(t *testing.T) compiletest.Data {
	t.Helper()
	binary, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	score, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	const thread = "boltseal-thread"
	sets := (&rig{t: t}).process().Capabilities
	number := func(n int64) compile.Value { return compile.Value{Number: uint64(n)} }
	values := map[string]compile.Value{
		"comm":                      {String: thread},
		"tgid":                      number(int64(os.Getpid())),
		"signal.rlim[7].rlim_cur":   number(0x3f7),
		"signal.oom_score_adj":      number(score),
		"signal.is_child_subreaper": number(1),
		"cred.uid":                  number(int64(os.Getuid())),
		"cred.cap_effective":        {Number: sets[policy.CapabilityEffective]},
		"cred.cap_inheritable":      {Number: sets[policy.CapabilityInheritable]},
		"mm.exe_file":               {String: binary, Mode: modeOf(t, binary)},
		"fs.pwd":                    {String: wd, Mode: modeOf(t, wd)},
		"bio_list.head":             {Unreadable: true}, // NULL but while blocks are submitted
	}
	settle(t, thread)
	d := compiletest.Data{Values: values, Behind: map[string]compile.Value{}, Kernel: compiletest.Kernel{Members: map[string]compile.Member{}}}
	for path, v := range values {
		d.Kernel.Members[policy.TaskStruct+" "+path] = memberOfTask(t, path)
		d.Behind[path] = v
	}
	bits := d.Kernel.Members[policy.TaskStruct+" tgid"]
	bits.Shift, bits.Bits = 3, 9
	d.Kernel.Members[policy.TaskStruct+" bits"] = bits
	values["bits"] = number(int64(os.Getpid()) >> bits.Shift)
	d.Behind["bits"] = values["bits"]
	// The leader may be this thread.
	comm, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/comm", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	d.Behind["comm"] = compile.Value{String: string(comm[:len(comm)-1])}
	d.Task = leaderAddress(t)
	return d
}

func modeOf(t *testing.T, path string) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Mode
}

// settle makes this thread what taskData tells of it, until the test ends.
func settle(t *testing.T, comm string) {
	t.Helper()
	(&rig{t: t}).pin()
	name, err := unix.BytePtrFromString(comm)
	if err != nil {
		t.Fatal(err)
	}
	var old [16]byte
	set := func(do func() error) {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	set(func() error { return unix.Prctl(unix.PR_GET_NAME, uintptr(unsafe.Pointer(&old[0])), 0, 0, 0) })
	set(func() error { return unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0) })
	set(func() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })
	var files unix.Rlimit
	set(func() error { return unix.Getrlimit(unix.RLIMIT_NOFILE, &files) })
	set(func() error { return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0x3f7, Max: files.Max}) })
	t.Cleanup(func() {
		for _, err := range []error{
			unix.Setrlimit(unix.RLIMIT_NOFILE, &files), unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0),
			unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&old[0])), 0, 0, 0),
		} {
			if err != nil {
				t.Error(err)
			}
		}
	})
}

func memberOfTask(t testing.TB, path string) compile.Member {
	t.Helper()
	types, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	var task *btf.Struct
	if err := types.TypeByName(policy.TaskStruct, &task); err != nil {
		t.Fatal(err)
	}
	m, err := attach.Member(&btf.Pointer{Target: task}, path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// leaderAddress is where in the kernel the leader of this thread group is.
func leaderAddress(t *testing.T) uint64 {
	t.Helper()
	const path = "group_leader"
	source := compiletest.NewData(1, compiletest.Data{Kernel: compiletest.Kernel{
		Members: map[string]compile.Member{policy.TaskStruct + " " + path: memberOfTask(t, path)},
	}})
	r := newRig(t, source)
	h := policy.Hook{
		Section: policy.Tracepoints, Subsystem: compiletest.Subsystem, Event: compiletest.Event,
		Args:      []policy.Arg{{Type: policy.ArgUint64, Source: policy.SourceTask, Resolve: path}},
		Selectors: []policy.Selector{{Actions: []policy.Action{{Kind: policy.Post}}}},
	}
	id, err := r.Load(r.compile(h))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply([]Assignment{{Slots: []uint32{0}, Set: []Member{{id, true}}}}, true); err != nil {
		t.Fatal(err)
	}
	r.run(source.Record(r.binary))
	e := r.event()
	if e == nil {
		t.Fatal("no event")
	}
	rule, ok := r.Resolve(e.Site, e.Version, 0)
	if !ok || int64(e.Regs[rule.Dimensions[0]]) >= 0 {
		t.Fatalf("the leader is at %#x", e.Regs)
	}
	return e.Regs[rule.Dimensions[0]]
}
