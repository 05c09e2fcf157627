// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// loop opens a path over and over, each time in a child of its own, so that the
// death of one try ends nothing else.
type loop struct {
	path     string
	interval time.Duration
	count    int // tries per worker; 0 for no end
	exec     bool
	stop     <-chan struct{}

	mu      sync.Mutex
	results map[string]int
}

func runLoop(args []string) int {
	set := flag.NewFlagSet("loop", flag.ContinueOnError)
	procs := set.Int("procs", 1, "")
	count := set.Int("count", 0, "")
	exec := set.Bool("exec", false, "")
	args, ok := parse(set, args, 2, 2)
	if !ok {
		return exitUsage
	}
	interval, err := time.ParseDuration(args[1])
	if err != nil || interval < 0 || *procs < 1 || *count < 0 {
		fmt.Fprintf(os.Stderr, "actor: loop: bad interval %q, -procs or -count; see actor loop --help\n", args[1])
		return exitUsage
	}
	stop := make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	go func() {
		<-signals
		close(stop)
	}()
	l := &loop{path: args[0], interval: interval, count: *count, exec: *exec, stop: stop, results: map[string]int{}}
	return l.run(*procs)
}

// run starts the workers, waits for their end and prints the sums: total RESULT COUNT.
func (l *loop) run(workers int) int {
	say("READY", "loop", "")
	errs := make(chan error, workers)
	for range workers {
		go func() { errs <- l.work() }()
	}
	status := exitDone
	for range workers {
		if err := <-errs; err != nil {
			status = failed("loop", err)
		}
	}
	for result, n := range l.results {
		write(fmt.Appendf(nil, "total %s %d\n", result, n))
	}
	return status
}

func (l *loop) work() error {
	ticker := time.NewTicker(max(l.interval, time.Nanosecond))
	defer ticker.Stop()
	for try := 0; l.count == 0 || try < l.count; try++ {
		begin := now()
		result, err := l.try()
		if err != nil {
			return err
		}
		write(fmt.Appendf(nil, "act %d %d %s\n", begin, now(), result))
		l.mu.Lock()
		l.results[result]++
		l.mu.Unlock()
		if l.interval == 0 {
			select {
			case <-l.stop:
				return nil
			default:
				continue
			}
		}
		select {
		case <-l.stop:
			return nil
		case <-ticker.C:
		}
	}
	return nil
}

// try opens the path once and says leak, denied, or killed:SIGNAL.
func (l *loop) try() (string, error) {
	pid, err := l.child()
	if err != nil {
		return "", err
	}
	status, err := wait(pid)
	if err != nil {
		return "", err
	}
	switch {
	case status.Signaled():
		return "killed:" + signalName(status.Signal()), nil
	case status.ExitStatus() == exitDone:
		return "leak", nil
	case status.ExitStatus() == exitDenied:
		return "denied", nil
	}
	return "", fmt.Errorf("a try ended with status %d", status.ExitStatus())
}

func (l *loop) child() (int, error) {
	if !l.exec {
		path, err := unix.BytePtrFromString(l.path)
		if err != nil {
			return 0, err
		}
		return start(birth{cgroup: -1}, &act{path: path}) // no markers: the lines of the tries say it
	}
	p, err := os.StartProcess("/proc/self/exe", []string{"actor", "read", l.path}, &os.ProcAttr{})
	if err != nil {
		return 0, err
	}
	pid := p.Pid
	return pid, p.Release()
}

// now is CLOCK_MONOTONIC in nanoseconds, the clock of bpf_ktime_get_ns.
func now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // every Linux kernel has this clock
	}
	return ts.Nano()
}

func runSleep(args []string) int {
	args, ok := parse(flag.NewFlagSet("sleep", flag.ContinueOnError), args, 0, 1)
	if !ok {
		return exitUsage
	}
	var timeout <-chan time.Time
	if len(args) == 1 {
		seconds, err := strconv.ParseFloat(args[0], 64)
		if err != nil || seconds < 0 {
			fmt.Fprintf(os.Stderr, "actor: sleep: %q is not a number of seconds\n", args[0])
			return exitUsage
		}
		timeout = time.After(time.Duration(seconds * float64(time.Second)))
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	say("READY", "sleep", "")
	select {
	case <-timeout:
	case <-signals:
	}
	return exitDone
}
