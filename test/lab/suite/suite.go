// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package suite runs the project's tests on every kernel of the lab and on this
// machine, and makes a table of what works where.
package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/boltseal/boltseal/test/lab"
	"github.com/boltseal/boltseal/test/lab/job"
	"github.com/boltseal/boltseal/test/lab/room"
	"github.com/boltseal/boltseal/test/lab/truth"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/summary"
)

// withoutBPF ends the name of a column whose kernels do not list BPF in lsm=.
const withoutBPF = "-nobpf"

// host is the column of this machine's own kernel.
const host = "this machine"

// Column is one kernel, started in one way, and what is run on it.
type Column struct {
	// Name is the kernel's, or "this machine", or that of a room; Kernel and LSM are
	// empty for the latter, which have this machine's kernel.
	Name   string
	Kernel lab.Kernel
	LSM    string
	// Room is the Debian release in whose room it is run, empty for none; Unified, that
	// the room has cgroups of version 2 alone.
	Room    string
	Unified bool
	// Params are further parameters of the kernel.
	Params string
	Parts  []Part
}

// preempted is a parameter with which a kernel that leaves it open takes a processor
// from a task in the middle of a program; others take no notice of it.
const preempted = "preempt=full"

// Part is tests of one package.
type Part struct {
	// Package is a path below the module.
	Package string
	// Run, if not empty, chooses tests, as go test -run does; Skip leaves out.
	Run, Skip string
	// Args are further arguments of the test binary.
	Args []string
}

// Columns returns what is run where.
func Columns() []Column {
	columns := append([]Column{{Name: host, Parts: append(allParts(), verdictPart(), startsPart())}}, roomColumns()...)
	for _, k := range lab.Kernels() {
		columns = append(columns, Column{Name: k.Name, Kernel: k, LSM: lab.LSMWithBPF, Parts: partsOf(k)})
	}
	for _, k := range lab.Kernels() {
		columns = append(columns, Column{Name: k.Name + withoutBPF, Kernel: k, LSM: lab.LSMWithoutBPF, Parts: lsmParts()})
	}
	return columns
}

// LongColumns are what takes hours in all: on each kernel every act by every
// mechanism, evaluations under changes for minutes, and the language at real hooks.
func LongColumns() []Column {
	parts := func(evaluations int) []Part {
		churn := Part{Package: enginePackage, Run: "^TestChurn$", Args: []string{fmt.Sprintf("-boltseal.evaluations=%d", evaluations)}}
		flood := Part{Package: "agent/internal/seal", Run: "^(" + floodTests + ")$"}
		return []Part{verdictPart(), churn, flood, languagePart(), {Package: "test/e2e", Run: "^TestScenarios$"}, {Package: describedPackage}, {Package: runtimesPackage, Run: "^TestDoctor$"}}
	}
	columns := append([]Column{{Name: host, Parts: parts(10_000_000)}}, longRoomColumns()...)
	for _, k := range lab.Kernels() {
		columns = append(columns, Column{Name: k.Name, Kernel: k, LSM: lab.LSMWithBPF, Params: preempted, Parts: parts(1_000_000)})
	}
	return columns
}

// engineTests are those that each engine goes through. All of them with all engines and
// all ways in take an hour.
const engineTests = "^(TestMatrix|TestInstallDoctorUninstall|TestThreeHundred|TestAddedTime)$"

// roomColumns are what is used most of each Debian release: of the newest one each engine,
// with hundreds of containers, and containerd by the way that is installed unless another
// is asked for.
func roomColumns() []Column {
	var columns []Column
	for _, suite := range room.Suites() {
		part := Part{Package: enginesPackage, Run: engineTests + "/^(docker|containerd_by_NRI$)", Skip: "^TestThreeHundred$"}
		if suite == "sid" {
			part = Part{Package: enginesPackage, Run: engineTests + "/^(docker|containerd_by_NRI$|podman|runc)"}
		}
		several := Part{Package: enginesPackage, Run: "^TestSeveralEngines$"}
		columns = append(columns, Column{Name: "room-" + suite, Room: suite, Parts: []Part{part, several}})
	}
	return columns
}

// longRoomColumns are all engines of each Debian release, each in a room that no other was
// in. In rooms whose cgroups are of version 2 alone are crun, which refuses mixed ones, and
// Podman with it; that of bookworm starts nothing there where root may not raise limits.
// Other engines want controllers that are left to version 1.
func longRoomColumns() []Column {
	var columns []Column
	for _, suite := range room.Suites() {
		for _, engine := range []string{"docker", "containerd", "podman", "runc", "crun"} {
			columns = append(columns, engineColumn("room-"+suite+"-"+engine, suite, engine))
		}
	}
	for _, suite := range []string{"trixie", "sid"} {
		for _, engine := range []string{"podman", "crun"} {
			c := engineColumn("room-"+suite+"-unified-"+engine, suite, engine)
			c.Unified = true
			columns = append(columns, c)
		}
	}
	return columns
}

// engineColumn is an engine of a release with all that it is held to.
func engineColumn(name, suite, engine string) Column {
	parts := []Part{{Package: enginesPackage, Run: engineTests + "/^" + engine}}
	own, has := map[string]string{
		"docker": "^TestDockerInDocker$", "podman": "^(TestPodman.*|TestSystemdInAContainer)$", "runc": "^TestRestored$",
	}[engine]
	if has {
		parts = append(parts, Part{Package: enginesPackage, Run: own})
	}
	return Column{Name: name, Room: suite, Parts: parts}
}

const (
	kernelPackage    = "agent/internal/kernel"
	mechanismPackage = "agent/internal/kernel/mechanism"
	enginePackage    = "agent/internal/engine"
	runtimesPackage  = "test/runtimes"
	enginesPackage   = "test/runtimes/engines"
	describedPackage = "agent/internal/attach/described"
)

// lsmParts are the tests whose answer depends on lsm=.
func lsmParts() []Part {
	return []Part{{Package: kernelPackage, Run: "^TestProbesMatchTruth$"}, {Package: mechanismPackage}}
}

// allParts are all tests that are run on a kernel. Emulation is ten times slower
// than a processor: what is left out or cut down here does not depend on the
// kernel, and make test has it in full.
func allParts() []Part {
	const otherFlavour = "TestWithoutTaskStorage" // each kernel is tested with what it has
	return []Part{
		{Package: kernelPackage},
		{Package: mechanismPackage},
		{Package: "agent/internal/seal", Skip: "^(" + otherFlavour + "|" + floodTests + ")$"},
		{
			Package: enginePackage,
			Skip: "^TestChurn$/^system_call|^(" + otherFlavour + "|TestEnforcersSignal|TestTooManyEnforcers|TestMissedExecIsMadeUpForAtSites|TestValuesThatDoNotFit|TestSetsThatDoNotFit|TestLimitsOfSitesAndPolicies|TestFailedLoadLeavesNothing|TestModeStorm|TestConformanceOfData|TestResolve|TestProgramIsReplacedWithoutGap|" +
				languageTests + ")$",
			Args: []string{"-boltseal.pairs=2000", "-boltseal.evaluations=20000"},
		},
		// Each way in which the kernel comes to know a container; the forms of paths
		// are read by the agent alone.
		{Package: "test/e2e", Run: "^TestSealOrder$/^ways$/^(announced|hooked|announced_and_hooked|announced,_three_parents_that_are_not_there|" +
			"hooked,_called_as_Docker_does|hooked,_the_scope_of_an_engine|hooked,_an_unknown_runtime)$"},
		// What doctor says of each runtime is for test-long.
		{Package: runtimesPackage, Run: "^TestSealedBeforeTheFirstExec$"},
	}
}

// languagePart is the language of policies at real hooks, each type and operator of it.
// That takes an emulated machine a quarter of an hour.
func languagePart() Part {
	return Part{
		Package: enginePackage, Run: "^(" + languageTests + ")$",
		// Of the types of arguments some whose structures kernels lay out differently.
		Args: []string{"-boltseal.types=" + labTypes},
	}
}

// languageTests are those of it that are not run on every kernel each time.
const languageTests = "TestArgumentsOfCallsAreComputed|TestBuffersAreReadAtTheReturn|TestBytesOfCalls|TestCapabilitiesOfTasks|" +
	"TestCapabilitySets|TestChainsAreJudgedAlike|TestChangeIsKilled|TestChangesAreSinceExec|" +
	"TestChildrenInAContainerAreFollowed|TestConformance|TestConformanceOfActions|TestConformanceOfReturns|TestConformanceOfSelectors|" +
	"TestDataOfACallThatIsPutOff|TestDataOfFunctions|TestDenialByPath|TestDeniedCallsReturn|TestExpressionsOfOneSite|" +
	"TestFieldsOfRecords|TestFilesAreHashed|TestFilesBeingOpenedAreHashed|TestFollowedAnew|TestForksAreFollowed|" +
	"TestInstructionsAreTheSame|TestIterators|TestIteratorsInMemory|TestKernelAndGoComputeAlike|" +
	"TestKernelAndGoJudgeReturnsAlike|TestKillAtTheReturn|TestLineagesThatDoNotFit|TestManyCallsReturn|TestNoRoomForOrigins|" +
	"TestNoticesAreTakenBack|TestNumbersOfACallThatIsPutOff|TestOriginOfAMissedExec|TestOriginsOutliveTheirPolicy|" +
	"TestParentsAreAskedFor|TestPathsFromRawTracepoints|TestPathsThatLeadNowhere|TestProgramsAreHashed|" +
	"TestProgramsDoWhatRulesAsk|TestProgramsOfCalls|TestRateEnds|TestRateIsOfItsScope|TestRateIsOfTheValues|" +
	"TestRateIsOfWhatChainsLeadTo|TestRateLeavesEnforcementAlone|TestRateLeavesRemoteActionsAlone|TestRatesForgetToMakeEvents|" +
	"TestRestOfBytes|TestReturnsAreOfTheirCalls|TestReturnsInEachOther|TestRulesChangeDuringACall|TestRulesOfWorkloads|" +
	"TestSetUpIsNoChange|TestStacksAndRatesOfReturns|TestStacksAtExit|TestStacksBehindLongStrings|TestStacksOfFunctions|" +
	"TestStacksOfTracepoints|TestStructuresInMemory|TestStructuresOfFunctions|TestStructuresOfRawTracepoints|" +
	"TestSystemCallsReturn|TestTaskEndsInACall|TestTextOfFunctions|TestTextsOfCallsAreSearched|TestTypesAtTheEndOfChains|" +
	"TestTypesOfFilesAreKnown|TestUnixAddresses|TestVectorsOfFunctions|TestWhatFunctionsReturn"

// floodTests are those of floods that are not run on every kernel each time: one is.
const floodTests = "TestFloodThatGoesOn|TestFloodOfMany|TestLossIsCountedBySlot|TestLossEndsWithItsContainer"

// labTypes are types of arguments that take two programs.
const labTypes = "^(file|path|dentry|linux_binprm|kiocb|sock|skb|cred|net_device|user_namespace)$"

// verdictPart tries every act by every mechanism. That takes an emulated machine
// two minutes: it is run where all mechanisms are, and on this machine.
func verdictPart() Part { return Part{Package: "test/e2e", Run: "^TestVerdicts$"} }

// startsPart starts a thousand containers, of which make test starts some.
func startsPart() Part {
	return Part{Package: "test/e2e", Run: "^TestManyStarts$", Args: []string{"-boltseal.starts=1000"}}
}

// partsOf are the parts of a kernel. All of them run on the oldest and the newest one; on
// those in between what depends on how a kernel lets programs in, and no engines. The one
// with error injection is of the same version as Debian's 6.12: there only what has to do
// with denying is run.
func partsOf(k lab.Kernel) []Part {
	mechanisms := Part{Package: enginePackage, Run: "^(" + mechanismTests + ")$"}
	switch {
	case k.Package == "":
		return []Part{{Package: kernelPackage}, {Package: mechanismPackage}, mechanisms, verdictPart()}
	case k.Name == "6.1" || k.Name == "6.12":
		parts := slices.DeleteFunc(allParts(), func(p Part) bool { return p.Package == runtimesPackage })
		for i := range parts {
			if parts[i].Package == enginePackage {
				parts[i] = mechanisms
			}
		}
		return parts
	default:
		return allParts()
	}
}

// mechanismTests are tests of the engine whose outcome depends on what a kernel lets
// programs do, and where.
const mechanismTests = "TestRulesAreForTheSelectedContainer|TestKillOnlyWhileInForce|TestExecThatEndsSetUp|" +
	"TestBinaryOfASealedTask|TestOpenIsDenied|TestFunctionsAreSeen|" +
	"TestFunctionsReturn|TestWhatFunctionsReturn|TestKillAtTheReturn|TestDeniedCallsReturn|TestManyCallsReturn|TestReturnsInEachOther|TestSocketsHaveOwners|" +
	"TestStringsAreReadAgainAtExit|TestExecIsJudgedOnce|TestWorkersOfIOUring|TestLargest.*|TestEnforcers.*|TestTooManyEnforcers"

// programs are those that tests find in testenv.BinariesVariable.
func programs() []string {
	return []string{"agent/cmd/boltseald", "agent/cmd/boltseal", "hook", "nri-plugin", "test/actor"}
}

// columnTime bounds what a column takes; most take a tenth of it. Those of LongColumns
// take most of it.
const columnTime = 40 * time.Minute

// Outcome is what came of a column.
type Outcome struct {
	Column  Column
	Summary *summary.Summary
	// Err is why the machine did not do its job; the tests that ran are summed up.
	Err error
	// Time is how long it took; Boots is how often the machine was booted.
	Time  time.Duration
	Boots int
}

// build builds everything that columns run below dir, laid out as guests have it
// below job.InDir: each package's tests are beside its test data. Flags are those
// of go build.
func build(ctx context.Context, dir string, columns []Column, flags ...string) error {
	for _, pkg := range programs() {
		if err := lab.Build(ctx, filepath.Join(dir, "bin", path.Base(pkg)), "./"+pkg, flags...); err != nil {
			return err
		}
	}
	built := map[string]bool{}
	for _, column := range columns {
		for _, part := range column.Parts {
			if built[part.Package] {
				continue
			}
			built[part.Package] = true
			if err := lab.Build(ctx, filepath.Join(dir, part.binary()), "./"+part.Package, flags...); err != nil {
				return err
			}
			if err := copyTestdata(ctx, dir, part.Package); err != nil {
				return err
			}
		}
	}
	return copyLibrary(ctx, dir)
}

// libraryDir is the policy library, from which tests take policies.
const libraryDir = "policies"

func copyLibrary(ctx context.Context, dir string) error {
	root, err := lab.ModuleRoot(ctx)
	if err != nil {
		return err
	}
	return os.CopyFS(filepath.Join(dir, libraryDir), os.DirFS(filepath.Join(root, libraryDir)))
}

// binary is where the tests of a part are, below the directory of all.
func (p Part) binary() string { return path.Join(p.Package, path.Base(p.Package)+".test") }

func copyTestdata(ctx context.Context, dir, pkg string) error {
	root, err := lab.ModuleRoot(ctx)
	if err != nil {
		return err
	}
	from := filepath.Join(root, pkg, "testdata")
	if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return os.CopyFS(filepath.Join(dir, pkg, "testdata"), os.DirFS(from))
}

// step is how a part is run where everything is below dir.
func (p Part) step(dir string) job.Step {
	argv := []string{path.Join(dir, p.binary()), "-test.v=test2json", "-test.timeout=" + columnTime.String()}
	if p.Run != "" {
		argv = append(argv, "-test.run="+p.Run)
	}
	if p.Skip != "" {
		argv = append(argv, "-test.skip="+p.Skip)
	}
	argv = append(argv, p.Args...)
	return job.Step{Argv: argv, Dir: path.Join(dir, p.Package), Env: []string{testenv.BinariesVariable + "=" + path.Join(dir, "bin")}}
}

// guest runs a column in a machine of the lab.
func guest(ctx context.Context, l *lab.Lab, disk string, c Column, out io.Writer) *Outcome {
	o := &Outcome{Column: c, Summary: summary.New()}
	var todo job.Job
	for _, part := range c.Parts {
		step := part.step(job.InDir)
		step.Env = append(step.Env, truth.Variable+"="+c.Name, testenv.StrictVariable+"=1")
		todo.Steps = append(todo.Steps, step)
	}
	parts := &parts{column: c, summary: o.Summary, out: out}
	result, err := l.Run(ctx, lab.Machine{Kernel: c.Kernel, LSM: c.LSM, Params: c.Params, Disk: disk, Timeout: columnTime}, todo, parts.take)
	o.Err = errors.Join(err, parts.end())
	if result != nil {
		o.Time, o.Boots = result.Time, result.Boots
	}
	return o
}

// name is how a part is called in reports.
func (p Part) name() string { return summary.Module + "/" + strings.TrimPrefix(p.Package, "./") }

// String says in a line what came of a column.
func (o *Outcome) String() string {
	counts := o.Summary.Counts()
	line := fmt.Sprintf("%-18s %4d passed, %d failed, %d skipped, %.0f s", o.Column.Name, counts["pass"], o.Summary.Failed(), counts["skip"], o.Time.Seconds())
	if o.Boots > 1 {
		line += fmt.Sprintf(" (booted %d times)", o.Boots)
	}
	return line
}
