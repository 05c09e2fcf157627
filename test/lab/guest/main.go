// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command guest is process 1 of the lab's virtual machines: it loads the
// drivers, puts the root file system together, does the job that it is given,
// and switches the machine off.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/lab/job"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest: only for process 1 of a virtual machine of the lab")
		os.Exit(2)
	}
	if err := run(); err != nil {
		// The kernel's console is all that is left to tell it to.
		fmt.Fprintln(os.Stderr, "guest:", err)
	}
	unix.Sync()
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	fmt.Fprintln(os.Stderr, "guest: power off:", err)
}

// run does everything between the kernel's hand-over and the end of the machine.
func run() error {
	if err := early(); err != nil {
		return err
	}
	ports, err := openPorts()
	if err != nil {
		return err
	}
	events := &events{encoder: json.NewEncoder(ports.events)}
	if err := work(ports, events); err != nil {
		return errors.Join(err, events.send(job.Event{Error: err.Error()}))
	}
	return nil
}

func work(ports *ports, events *events) error {
	var todo job.Job
	line, err := bufio.NewReader(ports.job).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read job: %w", err)
	}
	if err := json.Unmarshal(line, &todo); err != nil {
		return fmt.Errorf("read job: %w", err)
	}
	if err := assemble(); err != nil {
		return err
	}
	if err := showClock(events); err != nil {
		return err
	}
	stop := events.live()
	defer stop()
	for i, step := range todo.Steps {
		if err := do(i, step, events); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	if err := sendFiles(ports.files); err != nil {
		return err
	}
	return events.send(job.Event{Step: len(todo.Steps), Done: true})
}

// showClock tells the uptime twice, job.ClockCheck apart by the clock of this
// machine, for the host to compare with its own.
func showClock(events *events) error {
	for i := range 2 {
		if i > 0 {
			<-time.After(job.ClockCheck)
		}
		up, err := uptime()
		if err != nil {
			return err
		}
		if err := events.send(job.Event{Up: up}); err != nil {
			return err
		}
	}
	return nil
}

// ports are the ways out of the machine.
type ports struct {
	job    io.Reader
	events io.Writer
	files  io.Writer
}

// openPorts finds the ports by the names that the host gave them: there is no
// udev here that would.
func openPorts() (*ports, error) {
	found := map[string]*os.File{}
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, path := range names {
		name, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read name of port: %w", err)
		}
		port, err := os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(path))), os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("open port: %w", err)
		}
		found[strings.TrimSpace(string(name))] = port
	}
	for _, name := range []string{job.JobPort, job.EventPort, job.FilesPort} {
		if found[name] == nil {
			return nil, fmt.Errorf("no virtio port is called %s: is virtio_console loaded?", name)
		}
	}
	return &ports{job: found[job.JobPort], events: found[job.EventPort], files: found[job.FilesPort]}, nil
}
