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
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/bpf"
)

// verifierLimit is how many instructions the verifier may walk of a program; the
// kernel's own limit is a million, and kernels to come walk more.
const verifierLimit = 700_000

// The largest site that there can be loads on this kernel with room to spare.
func TestLargestSiteLoads(t *testing.T) {
	e := openBare(t, unattached{})
	wide := compilePoint(t, policy.Tracepoint{
		Subsystem: compiletest.Subsystem, Event: compiletest.Event, Args: compiletest.New(1).Args,
	})
	s, err := e.site(wide.Hooks[0].Site)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.table.Extend(&wide.Hooks[0]); err != nil {
		t.Fatal(err)
	}
	config := siteConfig(s)
	config.HasExit, config.IsExec, config.Args = 1, 1, uint32(len(config.Arg))
	// Of each kind of string one, then user strings, then numbers.
	kinds := []bpf.WireArgKind{
		bpf.WireArgKindARG_KERNEL_STRING, bpf.WireArgKindARG_DATA_LOC, bpf.WireArgKindARG_INLINE_STRING,
	}
	for i := range config.Arg {
		arg := bpf.WireArgConfig{Offset: uint16(8 * i), Size: 8, Kind: uint8(bpf.WireArgKindARG_INT), IsSigned: 1}
		switch {
		case i < len(kinds):
			arg.Kind, arg.String = uint8(kinds[i]), uint8(i)
		case i < int(bpf.WireLimitsSTRING_ARGS_MAX):
			arg.Kind, arg.String = uint8(bpf.WireArgKindARG_USER_STRING), uint8(i)
		}
		config.Arg[i] = arg
	}
	for _, name := range []string{
		bpf.TracepointProgTracepointEvent, bpf.TracepointProgSyscallExit, bpf.TracepointProgExecDone,
	} {
		walked, took := verify(t, e, s, config, name)
		t.Logf("report: %s: the verifier walks %d instructions in %v", name, walked, took.Round(time.Millisecond))
		if walked > verifierLimit {
			t.Errorf("%s: the verifier walks %d instructions, want at most %d", name, walked, verifierLimit)
		}
	}
}

// verify loads one program of a site and tells what the verifier did.
func verify(t *testing.T, e *Engine, s *site, config bpf.WireSiteConfig, name string) (walked int, took time.Duration) {
	t.Helper()
	spec, options, err := s.programSpec(e.maps, map[string]any{
		bpf.TracepointVarConfig: config, bpf.TracepointVarHashKeys: *e.options.Keys,
	}, []string{name})
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
