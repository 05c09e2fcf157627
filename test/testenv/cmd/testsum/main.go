// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command testsum runs the project's tests and says what ran, what did not and
// why; the last line is the sum. Arguments are passed on to go test.
//
// Packages below test/ start agents and containers: they run one after the other
// and never from the cache. Most others run with the race detector where there is
// a C compiler for it.
//
// On a machine that is able to run every test it sets BOLTSEAL_TEST_STRICT=1, so
// that what is missing fails instead of being skipped; set the variable to 0 or
// 1 to decide otherwise.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/probe"
	"github.com/boltseal/boltseal/test/testenv/summary"
)

func main() {
	// Ctrl-C reaches go test as well. It ends the tests, and the sum is still told.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, os.Stdout, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// In these packages the race detector makes tests take five times as long, so that it is
// used for those tests alone in which something goes on at once.
const (
	enginePackage  = summary.Module + "/agent/internal/engine"
	sealPackage    = summary.Module + "/agent/internal/seal"
	processPackage = summary.Module + "/agent/internal/process"
)

const concurrent = "^(TestChurn|TestModeStorm|TestChangesAreAtomic|TestApplyWaits|TestRulesChangeDuringACall|TestNoActIsLostWhenVersionsAreDeleted|" +
	"TestCountIsExact|TestLifeOfAContainer|TestConfirmAdopts|TestStateOfProcesses|TestConcurrentUse)$"

func heavy() []string { return []string{enginePackage, sealPackage, processPackage} }

// single are packages in which nothing goes on at once: the race detector would see
// nothing in five times the time.
func single() []string {
	const policyPackage = summary.Module + "/agent/internal/policy"
	return []string{policyPackage, policyPackage + "/compile"}
}

// hasty are the packages that are held to deadlines of fractions of a second: they have
// the machine for themselves.
func hasty() []string {
	return []string{summary.Module + "/hook", summary.Module + "/hook/agentclient", summary.Module + "/hook/wrapper", summary.Module + "/nri-plugin"}
}

// timeLimit is for a machine that has other things to do.
const timeLimit = "-timeout=30m"

// run runs all tests and reports whether each of them passed or was rightly skipped.
func run(ctx context.Context, w io.Writer, args []string) (bool, error) {
	strict, err := decideStrict(w)
	if err != nil {
		return false, err
	}
	inner, outer, err := packages(ctx)
	if err != nil {
		return false, err
	}
	s := summary.New()
	inner = slices.DeleteFunc(inner, func(pkg string) bool {
		return slices.Contains(slices.Concat(heavy(), single(), hasty()), pkg)
	})
	race, once := []string{"-race"}, []string{"-count=1", "-p=1", timeLimit}
	atOnce := slices.Concat(race, once, []string{"-run", concurrent}, heavy())
	calm := slices.Concat(once, heavy())
	switch _, missing := exec.LookPath("gcc"); {
	case missing != nil:
		race, atOnce = nil, nil
		fmt.Fprintln(w, "race detector: not used, because gcc is missing (Debian packages gcc, libc6-dev)")
	case len(args) > 0: // which choose the tests
		atOnce = nil
	default:
		calm = slices.Concat([]string{"-skip", concurrent}, calm)
	}
	// The first at the same time: one compiles while the other waits for the kernel.
	phases := [][][]string{
		{slices.Concat(race, inner), calm, single()},
		{slices.Concat(race, []string{"-p=1"}, hasty())},
		{slices.Concat(once, outer)},
	}
	if atOnce != nil {
		phases = append(phases, [][]string{atOnce})
	}
	for _, phase := range phases {
		var group errgroup.Group
		for _, command := range phase {
			group.Go(func() error { return test(ctx, w, s, slices.Concat(args, command)) })
		}
		if err := group.Wait(); err != nil {
			return false, err
		}
	}
	if strict && len(args) == 0 {
		s.MustRun(outer)
	}
	s.Print(w)
	return s.Failed() == 0, ctx.Err()
}

// decideStrict sets the variable that tests look at, unless it is set.
func decideStrict(w io.Writer) (bool, error) {
	if value, set := os.LookupEnv(testenv.StrictVariable); set {
		fmt.Fprintf(w, "%s=%s is set\n", testenv.StrictVariable, value)
		return value == "1", nil
	}
	if err := probe.Able(); err != nil {
		fmt.Fprintf(w, "not every test can run here: %v\n", err)
		return false, nil
	}
	fmt.Fprintln(w, "this machine is able to run every test: one that cannot run fails")
	return true, os.Setenv(testenv.StrictVariable, "1")
}

// packages lists the packages outside and below test/.
func packages(ctx context.Context) (inner, outer []string, err error) {
	out, err := exec.CommandContext(ctx, "go", "list", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, nil, fmt.Errorf("go list: %w", err)
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(pkg, summary.Module+"/test/") {
			outer = append(outer, pkg)
		} else {
			inner = append(inner, pkg)
		}
	}
	return inner, outer, nil
}

// test runs go test and adds what it says to the summary.
func test(ctx context.Context, w io.Writer, s *summary.Summary, args []string) error {
	if interrupted(ctx) {
		return nil // the sum is told, with what there is
	}
	// Not bound to ctx: a signal reaches go test by itself, and it ends in order.
	// make lint vets everything, and no debugger looks at these binaries.
	cmd := exec.Command("go", append([]string{"test", "-json", "-vet=off", "-ldflags=-w"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := s.Read(out, w)
	err = cmd.Wait()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || s.Failed() == 0 && !interrupted(ctx)) {
		return fmt.Errorf("go test: %w", err) // it failed, and not because a test did
	}
	return readErr
}

func interrupted(ctx context.Context) bool { return ctx.Err() != nil }
