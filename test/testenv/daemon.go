// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// daemonTime is how long a daemon may take to end, also under emulation.
const daemonTime = 2 * time.Minute

// DaemonProcess is a program that runs until it is stopped, or the test ends.
type DaemonProcess struct {
	cmd  *exec.Cmd
	path string // of its log
	once sync.Once
}

// Daemon starts a program whose log is written in dir. When the test ends it is
// interrupted; one that does not end in order fails the test, and the log of a
// failed test's program is printed.
func Daemon(tb testing.TB, dir, program string, args ...string) *DaemonProcess {
	tb.Helper()
	log, err := os.CreateTemp(dir, filepath.Base(program)+"-*.log")
	if err != nil {
		tb.Fatalf("testenv: %v", err)
	}
	defer log.Close()
	d := &DaemonProcess{cmd: exec.Command(program, args...), path: log.Name()}
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		tb.Fatalf("testenv: start %s: %v", program, err)
	}
	tb.Cleanup(func() {
		d.Stop(tb)
		if tb.Failed() {
			tb.Logf("%s:\n%s", filepath.Base(program), strings.TrimSpace(d.Log()))
		}
	})
	return d
}

// Pid is the process.
func (d *DaemonProcess) Pid() int { return d.cmd.Process.Pid }

// Log returns what the program has written so far.
func (d *DaemonProcess) Log() string {
	text, err := os.ReadFile(d.path)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Stop ends the program in order and waits for it.
func (d *DaemonProcess) Stop(tb testing.TB) {
	tb.Helper()
	d.once.Do(func() {
		_ = d.cmd.Process.Signal(os.Interrupt) // it may have ended
		timer := time.AfterFunc(daemonTime, func() { _ = d.cmd.Process.Kill() })
		defer timer.Stop()
		if err := d.cmd.Wait(); err != nil {
			tb.Errorf("testenv: %s did not end in order: %v", d.cmd.Path, err)
		}
	})
}

// Kill ends the program the hard way and waits for it.
func (d *DaemonProcess) Kill(tb testing.TB) {
	tb.Helper()
	d.once.Do(func() {
		if err := d.cmd.Process.Kill(); err != nil {
			tb.Errorf("testenv: kill %s: %v", d.cmd.Path, err)
		}
		_ = d.cmd.Wait() // it was killed
	})
}
