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
	config.Read, config.Chain = widest(), widestChains()
	config.Limits, config.Stacks = 1, uint8(bpf.WireActionFlagsACTION_KERNEL_STACK|bpf.WireActionFlagsACTION_USER_STACK)
	for _, name := range []string{
		bpf.SiteProgTracepointEvent, bpf.SiteProgSyscallExit, bpf.SiteProgExecDone,
	} {
		verify(t, e, s, config, name)
	}
}

// A site that reads values of the types that few sites have loads as well.
func TestSiteOfManyTypesLoads(t *testing.T) {
	e := openBare(t, unattached{})
	s, err := e.site(compile.Site{Kind: compile.RawTracepoint, Name: "cgroup_mkdir"})
	if err != nil {
		t.Fatal(err)
	}
	// As many of them as there are buffers for at once, and those that take none.
	for name, kinds := range map[string][]bpf.WireReadKind{
		"raw_event of text": {
			bpf.WireReadKindREAD_FILENAME, bpf.WireReadKindREAD_KIOCB, bpf.WireReadKindREAD_NET_DEVICE, bpf.WireReadKindREAD_SOCKADDR_UN,
			bpf.WireReadKindREAD_USER_SOCKADDR_UN, bpf.WireReadKindREAD_RECORD_BYTES, bpf.WireReadKindREAD_USER_UNIX_FAMILY,
		},
		"raw_event of bytes": {
			bpf.WireReadKindREAD_VECTORS, bpf.WireReadKindREAD_USER_VECTORS, bpf.WireReadKindREAD_ITERATOR, bpf.WireReadKindREAD_ARRAY,
			bpf.WireReadKindREAD_USER_ARRAY, bpf.WireReadKindREAD_USER_NAMESPACE, bpf.WireReadKindREAD_CAPABILITY_SET, bpf.WireReadKindREAD_NOTHING,
		},
		"raw_event of structures": {
			bpf.WireReadKindREAD_BPF_ATTR, bpf.WireReadKindREAD_USER_BPF_ATTR, bpf.WireReadKindREAD_BPF_PROG, bpf.WireReadKindREAD_BPF_MAP,
			bpf.WireReadKindREAD_PERF_EVENT, bpf.WireReadKindREAD_MODULE,
		},
		"raw_event of others": {bpf.WireReadKindREAD_LOAD_INFO, bpf.WireReadKindREAD_USER_BYTES, bpf.WireReadKindREAD_KERNEL_BYTES},
	} {
		config := siteConfig(s, s.shape())
		config.Words = uint32(bpf.WireLimitsRULE_WORDS)
		for i, kind := range kinds {
			read := compile.Read{Kind: kind}
			config.Kinds |= read.KindBit()
			config.Read[i] = bpf.WireReadConfig{Offset: uint16(8 * i), Size: 8, Kind: uint8(kind), String: uint8(min(i, compile.MaxStrings-1))}
			if kind < bpf.WireReadKindREAD_FILENAME {
				config.Read[i].Rest, config.HasRest = 1, 1
			}
		}
		spec, options, err := s.programSpec(e.maps, config, []string{bpf.SiteProgRawEvent})
		if err != nil {
			t.Fatal(err)
		}
		options.Programs.LogLevel = ebpf.LogLevelStats
		coll, err := ebpf.NewCollectionWithOptions(spec, options)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		n, err := kerneltest.Walked(coll.Programs[bpf.SiteProgRawEvent])
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: the verifier walks %d instructions", name, n)
		if n > verifierLimit {
			t.Errorf("%s: the verifier walks %d instructions, want at most %d", name, n, verifierLimit)
		}
		coll.Close()
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
	config.SockKind, config.Read, config.Chain = uint8(bpf.WireReadKindREAD_SOCKET), widest(), widestChains()
	config.Limits, config.Stacks = 1, uint8(bpf.WireActionFlagsACTION_KERNEL_STACK|bpf.WireActionFlagsACTION_USER_STACK)
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
	config.Words, config.Read, config.Chain = uint32(bpf.WireLimitsRULE_WORDS), widest(), widestChains()
	config.Limits, config.Stacks = 1, uint8(bpf.WireActionFlagsACTION_KERNEL_STACK|bpf.WireActionFlagsACTION_USER_STACK)
	verify(t, e, s, config, bpf.SiteProgFunctionVerdict)
}

// The same of a security hook whose events have the hash of a file, where the
// kernel hashes files for programs.
func TestLargestHashedVerdictLoads(t *testing.T) {
	testenv.Require(t, testenv.Optional("ima_file_hash", func() error { return probed().Err(kernel.FileHash) }))
	e := openBare(t, unattached{})
	s, err := e.site(compile.Site{Kind: compile.LSM, Name: "file_open"})
	if err != nil {
		t.Fatal(err)
	}
	config := siteConfig(s, s.shape())
	config.Words, config.Read, config.Chain = uint32(bpf.WireLimitsRULE_WORDS), widest(), widestChains()
	config.Limits, config.Hashes = 1, uint8(bpf.WireHashSourceHASH_FILE)
	for _, name := range []string{bpf.SiteProgHookVerdict, bpf.SiteProgHashWanted, bpf.SiteProgHashFile} {
		verify(t, e, s, config, name)
	}
}

// So are those that follow tasks.
func TestFollowersLoad(t *testing.T) {
	e := openBare(t, unattached{})
	names := []string{
		bpf.LineageProgLineageExec, e.maps.birth(), bpf.LineageProgLineageClear, bpf.LineageProgLineageMark,
	}
	coll, err := e.maps.loadLineage(names, ebpf.LogLevelStats)
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	for _, name := range names {
		kerneltest.CheckBudget(t, name, coll.Programs[name])
	}
}

// widestChains is chains to all words that there can be chains to.
func widestChains() (chains [bpf.WireLimitsREADS_MAX]bpf.WireChainConfig) {
	for i, read := range widest() {
		switch from := []bpf.WireChainStart{
			bpf.WireChainStartCHAIN_TASK, bpf.WireChainStartCHAIN_WORD, bpf.WireChainStartCHAIN_REGISTER,
		}[i%3]; bpf.WireReadKind(read.Kind) {
		case bpf.WireReadKindREAD_INT, bpf.WireReadKindREAD_FD:
			chains[i] = bpf.WireChainConfig{From: uint8(from), Steps: uint8(bpf.WireLimitsCHAIN_MAX), Load: 4, Bits: 3, Shift: 2}
		default:
		}
	}
	return chains
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
		bpf.WireReadKindREAD_SYSCALL, bpf.WireReadKindREAD_LINEAGE, bpf.WireReadKindREAD_SUBSTRING, bpf.WireReadKindREAD_SUBSTRING_FOLDED,
		bpf.WireReadKindREAD_FILE_TYPE, bpf.WireReadKindREAD_GAINED, bpf.WireReadKindREAD_EXPRESSION,
		bpf.WireReadKindREAD_NAMESPACE_CHANGES, bpf.WireReadKindREAD_CAPABILITY_CHANGES,
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
		case kinds[i] == bpf.WireReadKindREAD_NAMESPACE, kinds[i] == bpf.WireReadKindREAD_CAPABILITIES, kinds[i] == bpf.WireReadKindREAD_LINEAGE:
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
