// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/agent/internal/policy/conformance"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// subject is the process that selectors are about.
type subject struct {
	*judges
	compiletest.Process
}

// macros are those that rows name.
const macros = "  selectorsMacros:\n    holds: {matchPIDs: [{operator: In, values: [$PID]}]}\n" +
	"    fails: {matchPIDs: [{operator: NotIn, values: [$PID]}]}\n    known: {matchBinaries: [{operator: In, values: [\"$BINARY\"]}]}\n"

// words replaces what rows leave open.
func (s *subject) words(t *testing.T) *strings.Replacer {
	t.Helper()
	half := func(path string) (head, tail string) { return path[:len(path)/2], path[len(path)/2:] }
	self, parent := s.ancestors[0], s.ancestors[1]
	head, tail := half(self.binary)
	parentHead, parentTail := half(parent.binary)
	words := []string{
		"$BINARY", self.binary, "$BINHEAD", head, "$BINTAIL", tail, "$PARENT", parent.binary, "$PARHEAD", parentHead, "$PARTAIL", parentTail,
		"$PID", fmt.Sprint(self.pid), "$NSPID", fmt.Sprint(self.namespacePID), "$PPID", fmt.Sprint(parent.pid), "$NSPPID", fmt.Sprint(parent.namespacePID),
	}
	for n, inode := range s.Namespaces {
		words = append(words, "$NS_"+policy.Namespace(n).String()+"$", fmt.Sprint(inode))
	}
	return strings.NewReplacer(words...)
}

// remember has the kernel note what the process begins with, before it changes that.
func (s *subject) remember(t *testing.T) {
	t.Helper()
	id := s.load(t, document("tracepoints", "{subsystem: none, event: conformance_origin, raw: true, selectors: [{matchNamespaceChanges: [{operator: In, values: [Uts]}]}]}"), trial{})
	s.try(t, id, make([]uint64, wordsOfSite))
	unshare := func(flags int) {
		if err := unix.Unshare(flags); err != nil {
			t.Fatal(err)
		}
	}
	unshare(unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP | unix.CLONE_NEWPID)
	// A namespace of pids has a number when it has its first process. Before Linux 6.3
	// none is started in the memory of this one into another namespace of times.
	if err := exec.CommandContext(t.Context(), "true").Run(); err != nil {
		t.Fatal(err)
	}
	unshare(unix.CLONE_NEWTIME)
	for set, capability := range map[string]int{"effective": unix.CAP_SYS_BOOT, "permitted": unix.CAP_WAKE_ALARM, "inheritable": unix.CAP_CHOWN} {
		if err := changeCapability(set, capability, set == "inheritable"); err != nil {
			t.Fatal(err)
		}
	}
	s.Process = s.process()
	for n := policy.NamespaceUts; n <= policy.NamespaceUser; n++ {
		inode, err := namespaceInode("/proc/thread-self/ns/", n)
		if err != nil {
			t.Fatal(err)
		}
		s.Namespaces[n] = inode
		if n != policy.NamespacePid && n != policy.NamespaceTime && n != policy.NamespaceUser {
			s.NamespaceChanges |= 1 << n
		}
	}
	s.CapabilityChanges = [3]uint64{
		policy.CapabilityEffective:   1<<unix.CAP_SYS_BOOT | 1<<unix.CAP_WAKE_ALARM,
		policy.CapabilityInheritable: 1 << unix.CAP_CHOWN, policy.CapabilityPermitted: 1 << unix.CAP_WAKE_ALARM,
	}
	s.Lineage = s.lineages
}

// lineages is a word of what the process descends from: those of itself, and then those
// of its ancestors alone.
func (s *subject) lineages(word uint16) uint64 {
	const words = uint16(bpf.WireLimitsRULE_WORDS)
	if word < words {
		return s.lineage(word)
	}
	all := s.ancestors
	defer func() { s.ancestors = all }()
	s.ancestors = all[1:]
	return s.lineage(word - words)
}

// value is what a read about the process gives.
func (s *subject) value(read compile.Read) compile.Value {
	switch read.Kind {
	case bpf.WireReadKindREAD_PARENT_BINARY, bpf.WireReadKindREAD_PARENT_BINARY_PATH:
		return compile.Value{String: s.ancestors[1].binary}
	}
	record := &compiletest.Record{Process: s.Process, Binary: compile.Value{String: s.ancestors[0].binary}}
	return record.Value(read)
}

// Every selector holds for a process that it is for, and does not for another.
func TestConformanceOfSelectors(t *testing.T) {
	rows, err := conformance.Selectors()
	if err != nil {
		t.Fatal(err)
	}
	onOwnThread(t, func(t *testing.T) {
		s := &subject{judges: newJudges(t)}
		for i := range 30 {
			s.kernel.Prototypes["raw/"+fmt.Sprint("conformance_", i)] = compile.Prototype{}
		}
		s.kernel.Prototypes["raw/conformance_origin"] = compile.Prototype{}
		s.remember(t)
		positive, elsewhere := 0, 0
		for i := 0; len(rows) > 0; i++ {
			n := slices.IndexFunc(rows, func(r conformance.Selector) bool { return r.Key != rows[0].Key || s.away(r) != s.away(rows[0]) })
			if n < 0 {
				n = len(rows)
			}
			shown, pointed := s.rows(t, fmt.Sprint("conformance_", i), rows[:n])
			positive, elsewhere = positive+shown, elsewhere+pointed
			rows = rows[n:]
		}
		testenv.Report(t, "conformance: %d selectors that hold and %d that do not, %d in tables of their own", positive, positive, elsewhere)
	})
}

// onOwnThread runs a test on a thread that ends with it, which the process's first thread
// does not: what is taken from that one, every later test has lost.
func onOwnThread(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Run("on a thread of its own", func(t *testing.T) {
		runtime.LockOSThread() // more often than it is unlocked
		if unix.Gettid() == os.Getpid() {
			defer runtime.UnlockOSThread()
			onOwnThread(t, test) // while this one has the first
			return
		}
		test(t)
	})
}

// away tells whether a row is for a process outside of the host's user namespace.
func (s *subject) away(r conformance.Selector) bool { return strings.HasSuffix(r.Form, "outside") }

// rows tries rows of one key.
func (s *subject) rows(t *testing.T, event string, rows []conformance.Selector) (shown, elsewhere int) {
	t.Helper()
	var selectors []string
	for _, row := range rows {
		if row.Hit == "-" {
			elsewhere++
			continue
		}
		selectors = append(selectors, "{"+row.Hit+"}", "{"+row.Miss+"}")
	}
	if len(selectors) == 0 {
		return 0, elsewhere
	}
	s.kernel.away = s.away(rows[0])
	of := trial{context: make([]uint64, wordsOfSite), value: s.value}
	for n := 1; n < policy.MaxWorkloads; n += 2 {
		of.workloads = of.workloads.With(n)
	}
	var hooks []string
	for chunk := range slices.Chunk(selectors, selectorsOfHook) {
		hooks = append(hooks, fmt.Sprintf("{subsystem: none, event: %s, raw: true, selectors: [%s]}", event, strings.Join(chunk, ", ")))
	}
	text := document("tracepoints", hooks...)
	if strings.Contains(text, "macros:") {
		text += macros
	}
	verdicts := s.judge(t, s.words(t).Replace(text), of)
	line := ""
	for i := range selectors {
		row, want := rows[i/2], i%2 == 0
		if got := verdicts[i]; got != (verdict{want, want}) {
			t.Errorf("%s %s: the plain evaluation says %v and the kernel %v of %s, want %v", row.Key, row.Form, got.plain, got.kernel, s.words(t).Replace(selectors[i]), want)
		}
		if want {
			line += " " + strings.ReplaceAll(row.Form, " ", "-") + "+-"
		}
	}
	testenv.Report(t, "conformance: %s:%s", rows[0].Key, line)
	return len(selectors) / 2, elsewhere
}
