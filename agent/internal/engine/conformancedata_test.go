// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/conformance"
	"github.com/boltseal/boltseal/test/testenv"
)

// item is an item of data: what a path from the task of this thread leads to.
type item struct {
	argument
	path string
}

// socketOfTask is a connected socket of this process, and what is known of it.
func socketOfTask(t *testing.T) (path string, facts conformance.Facts) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	c, err := net.Dial("tcp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { path = fmt.Sprintf("files.fdt.fd[%d].private_data", fd) }); err != nil {
		t.Fatal(err)
	}
	return path, conformance.Facts{
		Source: netip.MustParseAddrPort(c.LocalAddr().String()), Target: netip.MustParseAddrPort(c.RemoteAddr().String()),
		Protocol: unix.IPPROTO_TCP, Family: unix.AF_INET, State: unix.BPF_TCP_ESTABLISHED,
	}
}

// itemsOfTask are what paths lead to, in two hooks: there is no room for all in one.
func itemsOfTask(t *testing.T) [][]item {
	t.Helper()
	types, err := conformance.Types()
	if err != nil {
		t.Fatal(err)
	}
	named := func(name, path string, facts conformance.Facts) item {
		for _, typ := range types {
			if typ.Name == name && typ.Place == "raw" {
				return item{argument{Type: typ, sample: sample{Facts: facts}}, path}
			}
		}
		t.Fatalf("no type %s", name)
		return item{}
	}
	const thread = "Conformance"
	settle(t, thread)
	binary, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	// A thread need not have all that it may use.
	dropEffective(t, unix.CAP_SYS_BOOT)
	_, sets := ownCapabilities(t)
	permitted := uint64(sets[1].Permitted)<<32 | uint64(sets[0].Permitted)
	effective := uint64(sets[1].Effective)<<32 | uint64(sets[0].Effective)
	socket, addresses := socketOfTask(t)
	return [][]item{
		{
			named("int", "tgid", conformance.Facts{Number: uint64(os.Getpid()), Bits: 32, Signed: true}),
			named("string", "comm", conformance.Facts{Text: thread}),
			named("file", "mm.exe_file", conformance.Facts{Text: binary, FileType: "reg"}),
			named("socket", socket, addresses),
		},
		{
			named("cap_permitted", "cred.cap_permitted", conformance.Facts{Number: permitted, Old: effective, Bits: 64}),
			named("cap_effective", "cred.cap_effective", conformance.Facts{Number: effective, Bits: 64}),
		},
	}
}

// Items of data are compared as arguments are, by each operator.
func TestConformanceOfData(t *testing.T) {
	operators, err := conformance.Operators()
	if err != nil {
		t.Fatal(err)
	}
	j := newJudges(t)
	shown := shown{}
	for n, items := range itemsOfTask(t) {
		call := fmt.Sprint("conformance_data_", n)
		j.kernel.Prototypes[call] = compile.Prototype{}
		var data, selectors []string
		var cells []cell
		for at, of := range items {
			j.kernel.Members[policy.TaskStruct+" "+of.path] = memberOfTask(t, of.path)
			data = append(data, fmt.Sprintf("{index: 0, source: current_task, resolve: %q, type: %s}", of.path, of.Name))
			for _, op := range operators {
				if !of.Takes(op) || op.Operands == "gained" && of.Old == 0 {
					continue
				}
				filters, err := of.Filters(op.Name, at)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range filters {
					selector := "{matchData: [" + f.YAML(op.Name, at) + "]}"
					selectors = append(selectors, selector)
					cells = append(cells, cell{of.Type.String(), op.Name, selector, f.Holds, false})
				}
			}
		}
		var hooks []string
		for len(selectors) > len(hooks)*selectorsOfHook {
			some := selectors[len(hooks)*selectorsOfHook:]
			hooks = append(hooks, fmt.Sprintf("{call: %s, syscall: false, data: [%s], selectors: [%s]}",
				call, strings.Join(data, ", "), strings.Join(some[:min(len(some), selectorsOfHook)], ", ")))
		}
		chains := map[compile.Chain]*item{}
		of := trial{context: make([]uint64, wordsOfSite), value: func(read compile.Read) compile.Value {
			if of := chains[read.Chain]; of != nil {
				return of.value(read)
			}
			return compile.Value{}
		}}
		id := j.load(t, document("kprobes", hooks...), of)
		for i := range items {
			chains[j.hooksOf(id)[0].hook.Reads[i].Chain] = &items[i]
		}
		j.try(t, id, of.context)
		for i, got := range j.verdicts(id, of) {
			shown.judged(t, cells[i], got)
		}
	}
	hold, fail := 0, 0
	for _, n := range shown {
		hold, fail = hold+n.hold, fail+n.fail
	}
	testenv.Report(t, "conformance: matchData: %d operators of types shown, by %d filters that hold and %d that do not", len(shown), hold, fail)
}
