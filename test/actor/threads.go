// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// maxThreads keeps a typing error from exhausting the machine's pids.
const maxThreads = 4096

// runThreads starts threads and, with a path, lets all of them open it at once.
func runThreads(args []string) int {
	args, ok := parse(flag.NewFlagSet("threads", flag.ContinueOnError), args, 1, 2)
	if !ok {
		return exitUsage
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 || n > maxThreads {
		fmt.Fprintf(os.Stderr, "actor: threads: %q is not a number from 1 to %d\n", args[0], maxThreads)
		return exitUsage
	}
	if len(args) == 1 {
		var started sync.WaitGroup
		started.Add(n)
		for range n {
			go func() {
				runtime.LockOSThread()
				started.Done()
				select {} // main ends the process
			}()
		}
		started.Wait()
		return runSleep(nil)
	}
	return openTogether(n, args[1])
}

func openTogether(n int, path string) int {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return failed("threads", err)
	}
	var ready, done sync.WaitGroup
	ready.Add(n)
	gate := make(chan struct{})
	errnos := make([]unix.Errno, n)
	for i := range n {
		done.Go(func() {
			runtime.LockOSThread()
			a := &act{path: name, leak: fmt.Appendf(nil, "LEAK:threads:%d\n", i)}
			ready.Done()
			<-gate
			errnos[i] = a.do()
		})
	}
	ready.Wait()
	say("READY", "threads", "")
	close(gate)
	done.Wait()
	status := exitDone
	for _, errno := range errnos {
		status = max(status, report("threads", errno))
	}
	return status
}
