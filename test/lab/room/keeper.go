// SPDX-License-Identifier: Apache-2.0

//go:build linux

package room

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Names by which a program that calls [Main] is executed again: to keep a room, and to
// enter it.
const (
	keeperName = "boltseal-room-keeper"
	insideName = "boltseal-inside-room"
)

// Descriptors of the keeper's besides the standard ones.
const (
	answerFD   = 3 // gets its answer
	lifelineFD = 4 // is closed by the kernel when the process ends that waits for it
)

// Main has to be called by the programs that run rooms, before anything else: rooms are
// kept and entered by the same program.
func Main() {
	switch {
	case os.Args[0] == keeperName && len(os.Args) == 2:
		os.Exit(keeper(os.Args[1]))
	case os.Args[0] == insideName && len(os.Args) == 3:
		fmt.Fprintln(os.Stderr, "room:", enter(os.Args[1], os.Args[2]))
		os.Exit(125)
	}
}

// answer is what a keeper says when all is over.
type answer struct {
	Status int
	Error  string
}

// runKeeper runs the keeper and returns its answer.
func runKeeper(cmd *exec.Cmd) (a answer, err error) {
	read, write, err := os.Pipe()
	if err != nil {
		return a, err
	}
	defer read.Close()
	theirs, lifeline, err := os.Pipe()
	if err != nil {
		return a, errors.Join(err, write.Close())
	}
	defer lifeline.Close()
	cmd.ExtraFiles = []*os.File{write, theirs}
	err = cmd.Start()
	if err = errors.Join(err, write.Close(), theirs.Close()); err != nil {
		return a, err
	}
	text, err := io.ReadAll(read)
	// What it exits with says no more than the answer, or why there is none.
	ended := cmd.Wait()
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	switch {
	case err != nil:
		return a, fmt.Errorf("the room's keeper did not answer: %w", errors.Join(err, ended))
	case a.Error != "":
		return a, errors.New(a.Error)
	}
	return a, nil
}

// keeper keeps a room until the command has ended, and answers.
func keeper(plan string) int {
	// They are not for the room.
	unix.CloseOnExec(answerFD)
	unix.CloseOnExec(lifelineFD)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = os.NewFile(lifelineFD, "lifeline").Read(make([]byte, 1))
		cancel()
	}()
	var a answer
	status, err := keep(ctx, plan)
	if a.Status = status; err != nil {
		a.Error = err.Error()
	}
	if err := json.NewEncoder(os.NewFile(answerFD, "answer")).Encode(a); err != nil {
		fmt.Fprintln(os.Stderr, "room:", err)
		return 1
	}
	return 0
}

// keep runs a command in a room, and removes what it leaves.
func keep(ctx context.Context, plan string) (status int, err error) {
	unlock, err := lock(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	scratch, err := os.MkdirTemp("", "room")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	before, err := cgroups()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, removeNew(before)) }()
	// Whoever is left without a parent becomes a child of this process, and is found.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("become the parent of orphans: %w", err)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", scratch, plan)
	cmd.Args[0] = insideName
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return cmd.ProcessState.ExitCode(), errors.Join(err, endOrphans())
}

// lock waits for the room that is in use to end. A keeper that is told to end does not
// wait any longer.
func lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "boltseal-room.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	locked := make(chan error, 1)
	go func() {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		for errors.Is(err, unix.EINTR) {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
		locked <- err
	}()
	select {
	case err = <-locked:
	case <-ctx.Done():
		return nil, context.Cause(ctx) // the file is closed with the process
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("wait for another room: %w", err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
