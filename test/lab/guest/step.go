// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/lab/job"
)

// events writes events one at a time.
type events struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func (e *events) send(event job.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.encoder.Encode(event); err != nil {
		return fmt.Errorf("send event: %w", err)
	}
	return nil
}

// live sends a sign of life each second until stop is called.
func (e *events) live() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	ticker := time.NewTicker(time.Second)
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			// Where the port is broken, the host sees the silence.
			if up, err := uptime(); err != nil || e.send(job.Event{Up: up}) != nil {
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(done)
		<-ended
	}
}

func uptime() (float64, error) {
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), " ")
	return strconv.ParseFloat(first, 64)
}

// environment is what every command has, as a login shell of root would.
func environment() []string {
	return []string{
		"PATH=" + job.InDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "TERM=dumb", "LANG=C.UTF-8",
	}
}

// stragglers is how long output is waited for after a command has ended, for
// what it left running may hold the pipe open for ever.
const stragglers = 2 * time.Second

// do runs one step. An error is one of the machine, not of the command.
func do(index int, step job.Step, events *events) error {
	begin := time.Now()
	exit := func(e job.Exit) error {
		e.Seconds = time.Since(begin).Seconds()
		return events.send(job.Event{Step: index, Exit: &e})
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	pid, err := start(step, write)
	err = errors.Join(err, write.Close())
	if err != nil {
		return exit(job.Exit{Status: 127, Error: err.Error()})
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(&output{step: index, events: events}, read)
		copied <- err
	}()
	status, err := reap(pid)
	if err != nil {
		return err
	}
	if err := read.SetReadDeadline(time.Now().Add(stragglers)); err != nil {
		return err
	}
	if err := <-copied; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if status.Signaled() {
		return exit(job.Exit{Status: 128 + int(status.Signal())})
	}
	return exit(job.Exit{Status: status.ExitStatus()})
}

func start(step job.Step, out *os.File) (int, error) {
	if len(step.Argv) == 0 {
		return 0, errors.New("no command")
	}
	env := append(environment(), step.Env...)
	if err := os.Setenv("PATH", strings.TrimPrefix(env[0], "PATH=")); err != nil {
		return 0, err
	}
	path, err := exec.LookPath(step.Argv[0])
	if err != nil {
		return 0, err
	}
	dir := step.Dir
	if dir == "" {
		dir = job.InDir
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	// Not exec.Cmd: it would wait for the child, and process 1 waits for all.
	process, err := os.StartProcess(path, step.Argv, &os.ProcAttr{
		Dir: dir, Env: env, Files: []*os.File{null, out, out}, Sys: &unix.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, err
	}
	return process.Pid, nil
}

// reap waits for a child, and takes every orphan that ends meanwhile.
func reap(pid int) (unix.WaitStatus, error) {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("wait for process %d: %w", pid, err)
		case got == pid && (status.Exited() || status.Signaled()):
			return status, nil
		}
	}
}

// output sends what is written to it as events of a step.
type output struct {
	step   int
	events *events
}

func (o *output) Write(text []byte) (int, error) {
	if err := o.events.send(job.Event{Step: o.step, Output: bytes.Clone(text)}); err != nil {
		return 0, err
	}
	return len(text), nil
}

// sendFiles packs what the commands left for the host.
func sendFiles(to io.Writer) error {
	left, err := os.ReadDir(job.OutDir)
	if err != nil || len(left) == 0 {
		return err
	}
	archive := tar.NewWriter(to)
	if err := archive.AddFS(os.DirFS(filepath.Clean(job.OutDir))); err != nil {
		return fmt.Errorf("pack files: %w", err)
	}
	return archive.Close()
}
