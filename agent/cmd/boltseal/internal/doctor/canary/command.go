// SPDX-License-Identifier: Apache-2.0

package canary

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Runtime starts canaries.
type Runtime interface {
	// Name is its usual name, as "runc".
	Name() string
	// Probe returns what answers, with its version, or why it cannot be used. It
	// makes nothing.
	Probe(ctx context.Context) (string, error)
	// TakesHook tells whether a canary can have a hook that nobody registered, and
	// Bundled whether it has none but that.
	TakesHook() bool
	Bundled() bool

	// start starts a canary, whose files are there. What has to be removed is in
	// the process, also after an error.
	start(ctx context.Context, s *Scene, c Canary) (*process, error)
}

// process is a canary on its way.
type process struct {
	// id is the container's; once it has run there is one.
	id func() (string, error)
	// done is closed when it has ended, or could not be started. The others are
	// set then.
	done chan struct{}
	code int
	said string
	err  error
	// remove ends and removes the container and what was made for it. It must not
	// mind that there is none.
	remove func(context.Context) error
	// kill ends the runtime's own command; nil: there is none.
	kill func()
	// close lets go of what removing needs; nil: nothing.
	close func() error
}

// callTime bounds one call of a runtime that is not the canary itself.
const callTime = 20 * time.Second

// maxSaid bounds what is kept of a runtime's complaints.
const maxSaid = 4 << 10

// foreground starts the command that runs the canary and ends with it. It is told
// to end by removing the container, never by a signal of a terminal.
func foreground(s *Scene, c Canary, name string, args ...string) (*process, error) {
	output := filepath.Join(s.work(c), "output")
	file, err := os.OpenFile(output, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	// The context does not kill it: that would leave half a container behind.
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{
		id: func() (string, error) { return c.Name, nil }, done: make(chan struct{}),
		kill: func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }, // it may have ended
	}
	go func() {
		defer close(p.done)
		err := cmd.Wait()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			p.err = fmt.Errorf("run %s: %w", name, err)
		}
		p.code = cmd.ProcessState.ExitCode()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			p.code = 128 + int(status.Signal())
		}
		text, _ := os.ReadFile(output)
		p.said = strings.TrimSpace(string(text[max(0, len(text)-maxSaid):]))
	}()
	return p, nil
}

// call runs a command to its end and returns what it wrote on standard output.
func call(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if text := strings.TrimSpace(stderr.String()); text != "" {
			err = fmt.Errorf("%w: %s", err, text)
		}
		return "", fmt.Errorf("%s %s: %w", filepath.Base(name), args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// idFile returns how to read the id that a runtime wrote into a file.
func idFile(path string) func() (string, error) {
	return func() (string, error) {
		text, err := os.ReadFile(path)
		id := strings.TrimSpace(string(text))
		if err == nil && id == "" {
			err = fmt.Errorf("%s holds no id", path)
		}
		return id, err
	}
}

// firstLine is the first line of a program's words about its version.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSpace(line)
}
