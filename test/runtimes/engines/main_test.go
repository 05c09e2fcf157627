// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package engines proves boltseal with container engines as their releases have
// them: at their usual places, registered by boltseal hook install, which is why it
// runs in rooms of the lab alone. Each engine with each way in is held to the same
// cells, which make a row of a matrix.
package engines

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/test/lab/room"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Tests that start containers at once are not to wait for processors.
	if err := flag.Set("test.parallel", strconv.Itoa(atOnce)); err != nil {
		panic(err) // package testing has it
	}
	testenv.Main(m)
}

// patience is for what an engine does on a busy machine.
const patience = time.Minute

// release is the Debian release whose room this is. Elsewhere the test is skipped: it
// would change the machine's own engines.
func release(t *testing.T) string {
	t.Helper()
	here := os.Getenv(room.Variable)
	testenv.Require(t, testenv.Optional("a room of the lab (make test-lab)", func() error {
		if here == "" {
			return errors.New("this machine's own engines are left alone")
		}
		return nil
	}))
	agentenv.Require(t)
	return here
}

// needs fails the test in a room that lacks a program.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		testenv.Require(t, testenv.Needed(name, func() error {
			_, err := exec.LookPath(name)
			return err
		}))
	}
}

// binDir is where boltseal's programs are in the room, as after make install.
const binDir = "/usr/local/bin"

// hookPath is the hook that engines run.
var hookPath = filepath.Join(binDir, "boltseal-hook")

// installPrograms puts boltseal's programs where make install does.
func installPrograms(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(binDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for pkg, name := range map[string]string{
		"./agent/cmd/boltseald": "boltseald", "./agent/cmd/boltseal": "boltseal", "./hook": "boltseal-hook", "./nri-plugin": "boltseal-nri",
	} {
		to := filepath.Join(binDir, name)
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		program, err := os.ReadFile(testenv.Binary(t, pkg))
		if err == nil {
			err = os.WriteFile(to, program, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// run runs a program to its end.
func run(t *testing.T, argv ...string) testenv.Result {
	t.Helper()
	var stdout, stderr strings.Builder
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience) // also for cleanups
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	result := testenv.Result{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		result.Err = err
	}
	return result
}

// must runs a program that has to succeed, and returns what it wrote.
func must(t *testing.T, argv ...string) string {
	t.Helper()
	result := run(t, argv...)
	if result.Code != 0 || result.Err != nil {
		t.Fatalf("%s: %s", strings.Join(argv, " "), result)
	}
	return result.Stdout
}

// register has boltseal hook install register a runtime, and takes it back when the
// test ends.
func register(t *testing.T, runtime string, flags ...string) {
	t.Helper()
	installPrograms(t)
	must(t, append([]string{filepath.Join(binDir, "boltseal"), "hook", "install", "--runtime", runtime}, flags...)...)
	t.Cleanup(func() {
		out, err := exec.Command(filepath.Join(binDir, "boltseal"), "hook", "uninstall", "--runtime", runtime).CombinedOutput()
		if err != nil {
			t.Errorf("uninstall: %v: %s", err, out)
		}
	})
}

// wait is Eventually that ends the test when it is not so.
func wait(t *testing.T, what string, check func() error) {
	t.Helper()
	failed := t.Failed()
	testenv.Eventually(t, patience, what, check)
	if !failed && t.Failed() {
		t.FailNow()
	}
}

// imageName is what all containers are made of.
const imageName = "localhost/boltseal-test:latest"

// imageArchive writes the image, as docker save has it.
func imageArchive(t *testing.T) string {
	t.Helper()
	archive := filepath.Join(testenv.Dir(t), "image.tar")
	if err := testenv.WriteImage(archive, imageName, testenv.Rootfs(t)); err != nil {
		t.Fatal(err)
	}
	return archive
}

// versionIn is the first word of a text that begins with a digit.
func versionIn(text string) string {
	for word := range strings.FieldsSeq(text) {
		word = strings.TrimSuffix(strings.TrimPrefix(word, "v"), ",")
		if word != "" && word[0] >= '0' && word[0] <= '9' {
			return word
		}
	}
	return fmt.Sprintf("%.20q", text)
}

func writeNew(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }
