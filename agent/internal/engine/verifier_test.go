// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
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
		walked, took := verify(t, e, s, config, name)
		t.Logf("report: %s: the verifier walks %d instructions in %v", name, walked, took.Round(time.Millisecond))
		if walked > verifierLimit {
			t.Errorf("%s: the verifier walks %d instructions, want at most %d", name, walked, verifierLimit)
		}
	}
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

// verify loads one program of a site and tells what the verifier did.
func verify(t *testing.T, e *Engine, s *site, config bpf.WireSiteConfig, name string) (walked int, took time.Duration) {
	t.Helper()
	spec, options, err := s.programSpec(e.maps, config, []string{name})
	if err != nil {
		t.Fatal(err)
	}
	options.Programs.LogLevel = ebpf.LogLevelStats
	start := time.Now()
	coll, err := ebpf.NewCollectionWithOptions(spec, options)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer coll.Close()
	took = time.Since(start)
	log := coll.Programs[name].VerifierLog
	found := regexp.MustCompile(`processed (\d+) insns`).FindStringSubmatch(log)
	if found == nil {
		t.Fatalf("%s: the verifier does not tell what it did: %s", name, log)
	}
	if walked, err = strconv.Atoi(found[1]); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", name, err))
	}
	return walked, took
}
