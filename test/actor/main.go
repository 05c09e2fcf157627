// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// Exit statuses, as doc.go lists them.
const (
	exitDone   = 0
	exitDenied = 1
	exitUsage  = 2
	exitFailed = 3
	exitKilled = 4
)

// command is one subcommand.
type command struct {
	name  string
	args  string
	about string
	// run gets the arguments after the name and returns the exit status.
	run func(args []string) int
}

func commands() []command {
	return []command{
		{"read", "PATH", "open PATH and copy it to standard output", runRead},
		{"exec", "PATH [ARG...]", "execute PATH in this process", runExec},
		{"escape", "[-cg DIR] MODE PATH", "leave the cgroup, thread or process by MODE, then open PATH\nmodes: " + modeNames(), runEscape},
		{"sleep", "[SECONDS]", "sleep; for ever without SECONDS; SIGTERM ends it with status 0", runSleep},
		{"loop", "[-procs N] [-count N] [-exec] PATH INTERVAL", "open PATH in a new child every INTERVAL (1ms) and report each try:\nact START END RESULT, in nanoseconds of CLOCK_MONOTONIC; SIGTERM ends it", runLoop},
		{"coldpath", "PATH", "open PATH by a string in a page that is not mapped yet", runColdpath},
		{"try", "DIR [ACT...]", "do acts on what is in DIR, each in a process of its own, and say what became of them\nacts: " + triedNames(), runTry},
		{"threads", "N [PATH]", "start N threads; with PATH each opens it at once, else they sleep", runThreads},
	}
}

func main() {
	os.Exit(dispatch(os.Args[1:], os.Stdout, os.Stderr))
}

// dispatch runs the subcommand that args name and returns the exit status.
func dispatch(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return exitUsage
	}
	if args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
		usage(stdout)
		return exitDone
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		for _, a := range args[1:] {
			if a == "-h" || a == "--help" {
				fmt.Fprintf(stdout, "usage: actor %s %s\n%s\n", c.name, c.args, c.about)
				return exitDone
			}
			if !strings.HasPrefix(a, "-") {
				break // what follows belongs to the program that exec starts
			}
		}
		return c.run(args[1:])
	}
	fmt.Fprintf(stderr, "actor: no such command: %q\n", args[0])
	usage(stderr)
	return exitUsage
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: actor COMMAND [ARG...]; actor COMMAND --help")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-9s %-45s %s\n", c.name, c.args, strings.SplitN(c.about, "\n", 2)[0])
	}
}

// parse reads flags and wants between least and most arguments after them.
func parse(set *flag.FlagSet, args []string, least, most int) ([]string, bool) {
	set.SetOutput(io.Discard)
	err := set.Parse(args)
	if err == nil && (set.NArg() < least || set.NArg() > most) {
		err = errors.New("wrong number of arguments")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "actor: %s: %v; see actor %s --help\n", set.Name(), err, set.Name())
		return nil, false
	}
	return set.Args(), true
}
