// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tried is one act that a policy can forbid. It works on what is in a directory:
// the file "forbidden", the program "program" and the directory "mnt".
type tried struct {
	name string
	do   func(dir string) error
}

func triedActs() []tried {
	return []tried{
		{"open", func(dir string) error { return openFor(dir, unix.O_RDONLY) }},
		{"write", func(dir string) error { return openFor(dir, unix.O_WRONLY|unix.O_TRUNC) }},
		{"exec", func(dir string) error {
			path := filepath.Join(dir, "program")
			return unix.Exec(path, []string{path}, nil)
		}},
		{"connect", func(string) error { return connect() }},
		{"ptrace", func(string) error { return seize() }},
		{"mount", func(dir string) error { return unix.Mount("none", filepath.Join(dir, "mnt"), "tmpfs", 0, "size=4k") }},
		{"module", func(string) error { return loadModule() }},
		{"unlink", func(dir string) error { return unix.Unlinkat(unix.AT_FDCWD, filepath.Join(dir, "forbidden"), 0) }},
	}
}

func triedNames() string {
	var names []string
	for _, t := range triedActs() {
		names = append(names, t.name)
	}
	return strings.Join(names, " ")
}

func openFor(dir string, flags int) error {
	fd, err := unix.Open(filepath.Join(dir, "forbidden"), flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// triedPort is discard: nobody listens there.
const triedPort = 9

func connect() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrInet4{Port: triedPort, Addr: [4]byte{127, 0, 0, 1}})
}

// seize traces a child of this process.
func seize() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", "sleep")
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(cmd.Process.Pid), 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// moduleSize is that of the header which a module begins with: of what is shorter
// no security hook is asked.
const moduleSize = 64

// loadModule loads a module of zeros, which no kernel takes.
func loadModule() error {
	image, params := [moduleSize]byte{}, [1]byte{}
	_, _, errno := unix.RawSyscall(unix.SYS_INIT_MODULE, uintptr(unsafe.Pointer(&image)), moduleSize, uintptr(unsafe.Pointer(&params)))
	if errno != 0 {
		return errno
	}
	return nil
}

// runTry does acts, each in a process of its own, and says what became of it:
// OK, the name of an error, or that of the signal that ended the process.
func runTry(args []string) int {
	args, ok := parse(flag.NewFlagSet("try", flag.ContinueOnError), args, 1, 1+len(triedActs()))
	if !ok {
		return exitUsage
	}
	dir, names := args[0], args[1:]
	if os.Getenv(triesVariable) != "" && len(names) == 1 {
		return try(dir, names[0])
	}
	for _, t := range triedActs() {
		if len(names) > 0 && !slices.Contains(names, t.name) {
			continue
		}
		cmd := exec.Command("/proc/self/exe", "try", dir, t.name)
		cmd.Env = append(os.Environ(), triesVariable+"=1")
		out, err := cmd.Output()
		say("RESULT", t.name, outcome(string(out), err))
	}
	return exitDone
}

// triesVariable makes the program the process of one act.
const triesVariable = "ACTOR_TRIES"

func try(dir, name string) int {
	i := slices.IndexFunc(triedActs(), func(t tried) bool { return t.name == name })
	if i < 0 {
		return exitUsage
	}
	if err := triedActs()[i].do(dir); err != nil {
		fmt.Print(describe(err))
		return exitDenied
	}
	return exitDone
}

// outcome is the word for how the process of an act ended.
func outcome(said string, err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "OK"
	case !errors.As(err, &exit):
		return describe(err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return signalName(status.Signal())
	}
	if said == "" {
		return "EXIT"
	}
	return said
}
