// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/kernel/kerneltest"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// verifierLimit is how many instructions the verifier may walk of a program; the
// kernel's own limit is a million, and kernels to come walk more.
const verifierLimit = 700_000

// The largest site that there can be loads on this kernel with room to spare.
func TestLargestSiteLoads(t *testing.T) {
	e := openBare(t, unattached{})
	wide := compilePoint(t, policy.Hook{
		Section: policy.Tracepoints, Subsystem: compiletest.Subsystem, Event: compiletest.Event, Args: compiletest.New(1).Args,
	})
	s, err := e.site(wide.Hooks[0].Site)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.table.Extend(&wide.Hooks[0]); err != nil {
		t.Fatal(err)
	}
	s.hook = &wide.Hooks[0]
	config := siteConfig(s, s.shape())
	config.HasExit, config.IsExec, config.Words = 1, 1, uint32(bpf.WireLimitsRULE_WORDS)
	config.Read = widest()
	for _, name := range []string{
		bpf.SiteProgTracepointEvent, bpf.SiteProgSyscallExit, bpf.SiteProgExecDone,
	} {
		verify(t, e, s, config, name)
	}
}

// The same of functions whose return rules wait for, and whose sockets they track.
func TestLargestReturnLoads(t *testing.T) {
	e := openBare(t, unattached{})
	s, err := e.site(compile.Site{Kind: compile.Kprobe, Name: "it"})
	if err != nil {
		t.Fatal(err)
	}
	s.hook = &compile.Hook{Frame: compile.Frame{Kind: bpf.WireCallFrameFRAME_STACK, HasStack: true, StackOffset: 152}}
	config := siteConfig(s, s.shape())
	config.HasExit, config.Returns, config.Tracks, config.Words = 1, 1, 1, uint32(bpf.WireLimitsRULE_WORDS)
	config.SockKind, config.Read = uint8(bpf.WireReadKindREAD_SOCKET), widest()
	for i := range config.Read {
		switch bpf.WireReadKind(config.Read[i].Kind) {
		case bpf.WireReadKindREAD_INT, bpf.WireReadKindREAD_FD:
			config.Read[i].When = uint8(bpf.WireReadWhenREAD_RESULT)
		}
	}
	for _, name := range []string{bpf.SiteProgFunctionEntry, bpf.SiteProgFunctionReturn} {
		verify(t, e, s, config, name)
	}
}

// The same of programs that decide, where there are some.
func TestLargestVerdictLoads(t *testing.T) {
	testenv.Require(t, testenv.Optional("fmod_ret", func() error { return probed().Err(kernel.ModifyReturn) }))
	e := openBare(t, unattached{})
	s, err := e.site(compile.Site{Kind: compile.ModifyReturn, Name: "security_file_open"})
	if err != nil {
		t.Fatal(err)
	}
	config := siteConfig(s, s.shape())
	config.Words, config.Read = uint32(bpf.WireLimitsRULE_WORDS), widest()
	verify(t, e, s, config, bpf.SiteProgFunctionVerdict)
}

// widest is the reads that cost the verifier most: text of each kind that a record
// has, then of the kernel's structures, all parts of a socket and of the process.
func widest() (reads [bpf.WireLimitsREADS_MAX]bpf.WireReadConfig) {
	kinds := []bpf.WireReadKind{
		bpf.WireReadKindREAD_USER_STRING, bpf.WireReadKindREAD_USER_STRING, bpf.WireReadKindREAD_DATA_LOC,
		bpf.WireReadKindREAD_FD, bpf.WireReadKindREAD_USER_SOCKADDR,
		bpf.WireReadKindREAD_BINARY, bpf.WireReadKindREAD_SOURCE_ADDRESS, bpf.WireReadKindREAD_TARGET_ADDRESS,
		bpf.WireReadKindREAD_SOURCE_PORT, bpf.WireReadKindREAD_TARGET_PORT, bpf.WireReadKindREAD_PROTOCOL,
		bpf.WireReadKindREAD_FAMILY, bpf.WireReadKindREAD_STATE, bpf.WireReadKindREAD_PID,
		bpf.WireReadKindREAD_NAMESPACE_PID, bpf.WireReadKindREAD_NAMESPACE, bpf.WireReadKindREAD_CAPABILITIES,
		bpf.WireReadKindREAD_SYSCALL,
	}
	strings := uint8(0)
	for i := range reads {
		reads[i] = bpf.WireReadConfig{Offset: uint16(8 * i), Size: 8, Kind: uint8(bpf.WireReadKindREAD_INT), IsSigned: 1}
		if i >= len(kinds) {
			continue
		}
		reads[i].Kind = uint8(kinds[i])
		switch read := (compile.Read{Kind: kinds[i]}); {
		case read.Buffer():
			reads[i].String = strings
			strings++
		case kinds[i] == bpf.WireReadKindREAD_NAMESPACE || kinds[i] == bpf.WireReadKindREAD_CAPABILITIES:
			reads[i].Offset = 0
		default:
			reads[i].String = strings - 1
		}
	}
	return reads
}

// verify loads one program of a site and checks what it costs the verifier.
func verify(t *testing.T, e *Engine, s *site, config bpf.WireSiteConfig, name string) {
	t.Helper()
	spec, options, err := s.programSpec(e.maps, config, []string{name})
	if err != nil {
		t.Fatal(err)
	}
	options.Programs.LogLevel = ebpf.LogLevelStats
	coll, err := ebpf.NewCollectionWithOptions(spec, options)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer coll.Close()
	if n := kerneltest.CheckBudget(t, name, coll.Programs[name]); n > verifierLimit {
		t.Errorf("%s: the verifier walks %d instructions, want at most %d", name, n, verifierLimit)
	}
}
