// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// AttachTracepoint attaches a program of type TracePoint to the trace event
// with this id (Format.ID), for all processes on all CPUs. Closing the result
// detaches it. Keep it referenced: the garbage collector closes what nobody
// holds.
//
// From Linux 5.15 on the attachment is a BPF link, before that a perf event.
func AttachTracepoint(prog *ebpf.Program, eventID uint64) (io.Closer, error) {
	event, err := openEvent(eventID)
	if err != nil {
		return nil, fmt.Errorf("attach to trace event %d: %w", eventID, err)
	}
	// The link holds the event by itself.
	attached, err := link.AttachRawLink(link.RawLinkOptions{
		Target:  int(event.Fd()),
		Program: prog,
		Attach:  ebpf.AttachPerfEvent,
	})
	if err == nil {
		return attached, event.Close()
	}
	// Which errors an old kernel gives for a link type that it does not know
	// is not worth guessing: if the older way fails too, its cause is the one.
	if err := attachEvent(event, prog); err != nil {
		return nil, errors.Join(fmt.Errorf("attach to trace event %d: %w", eventID, err), event.Close())
	}
	return event, nil
}

// openEvent opens a trace event on one CPU. The event itself stays disabled:
// programs run for every CPU as soon as the event exists, and an enabled one
// would also count for nobody to read.
func openEvent(id uint64) (*os.File, error) {
	attr := unix.PerfEventAttr{
		Type:        unix.PERF_TYPE_TRACEPOINT,
		Size:        unix.PERF_ATTR_SIZE_VER1,
		Config:      id,
		Sample_type: unix.PERF_SAMPLE_RAW,
		Sample:      1,
		Bits:        unix.PerfBitDisabled,
	}
	for cpu := 0; ; cpu++ {
		fd, err := unix.PerfEventOpen(&attr, -1, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), "trace event"), nil
		case errors.Is(err, unix.ENODEV):
			continue // this CPU is offline; the first that does not exist is EINVAL
		case cpu > 0 && errors.Is(err, unix.EINVAL):
			return nil, errors.New("open perf event: no CPU takes it")
		}
		return nil, fmt.Errorf("open perf event: %w", err)
	}
}

// attachEvent attaches the program to the event, until the event is closed.
func attachEvent(event *os.File, prog *ebpf.Program) error {
	if err := unix.IoctlSetInt(int(event.Fd()), unix.PERF_EVENT_IOC_SET_BPF, prog.FD()); err != nil {
		return fmt.Errorf("set program: %w", err)
	}
	return nil
}
