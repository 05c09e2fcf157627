// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"path/filepath"
	"sync/atomic"
	"time"
)

const (
	// Workers is how many read files of processes at once.
	Workers = 4
	// MaxWait is for how long one stack is waited for.
	MaxWait = 50 * time.Millisecond
)

// Frame is one function of a stack.
type Frame struct {
	// Address is where the function goes on; 0 where addresses are left out.
	Address uint64
	// Offset is that of the address in Symbol, or where there is none in Module.
	Offset uint64
	// Symbol is the function's name as it is linked; empty: not known. Of a process
	// it can be any bytes.
	Symbol string
	// Module is the kernel's module, empty for the kernel itself, or the path of the
	// file in the process's mount namespace. It can be any bytes.
	Module string
}

// Options configures Symbols.
type Options struct {
	// Proc is the proc file system of the initial pid namespace.
	Proc string
	// Addresses: frames have their addresses.
	Addresses bool
}

// Symbols names the functions of stacks. Kernel is for one goroutine at a time, and
// so is User; the two may be called at the same time.
type Symbols struct {
	options Options
	kernel  kernelTable
	modules modules
	budget  budget
	workers chan struct{}
	unnamed atomic.Uint64
}

// New reads nothing yet.
func New(o Options) *Symbols {
	return &Symbols{
		options: o,
		kernel:  kernelTable{symbols: filepath.Join(o.Proc, "kallsyms"), list: filepath.Join(o.Proc, "modules")},
		modules: modules{byFile: map[fileKey]*module{}},
		budget:  budget{left: maxBudget},
		workers: make(chan struct{}, Workers),
	}
}

// Unnamed is how many stacks of processes have no names because that would have
// taken too long, or the process was gone. Safe for concurrent use.
func (s *Symbols) Unnamed() uint64 { return s.unnamed.Load() }

// Kernel is the frames of a stack of the kernel, innermost first, without those of
// programs at its start. It reads the kernel's symbols when they are first asked
// for, and again when modules have come or gone.
func (s *Symbols) Kernel(stack []uint64) []Frame {
	s.kernel.refresh(time.Now())
	frames := make([]Frame, 0, len(stack))
	for i, address := range stack {
		f := s.kernel.frame(address, i > 0)
		if f.Symbol == "" && len(frames) == 0 && len(s.kernel.table) > 0 {
			continue
		}
		frames = append(frames, s.shown(f, address))
	}
	return frames
}

// User is the frames of a stack of a process, innermost first. The process is
// named by its id and when it started, in ns since boot.
func (s *Symbols) User(pid uint32, start uint64, stack []uint64) []Frame {
	frames := make([]Frame, len(stack))
	if len(stack) > 0 {
		if named := s.wait(func() []Frame { return s.name(pid, start, stack) }); named != nil {
			frames = named
		} else {
			s.unnamed.Add(1)
		}
	}
	for i, address := range stack {
		frames[i] = s.shown(frames[i], address)
	}
	return frames
}

func (s *Symbols) shown(f Frame, address uint64) Frame {
	if s.options.Addresses {
		f.Address = address
	}
	return f
}

// wait has a worker do something, and is nil if that takes too long or no worker
// is free.
func (s *Symbols) wait(do func() []Frame) []Frame {
	allowed := min(MaxWait, s.budget.at(time.Now()))
	if allowed <= 0 {
		return nil
	}
	select {
	case s.workers <- struct{}{}:
	default:
		return nil
	}
	done := make(chan []Frame, 1)
	go func() {
		defer func() { <-s.workers }()
		done <- do()
	}()
	began := time.Now()
	defer func() { s.budget.left -= time.Since(began) }()
	timeout := time.NewTimer(allowed)
	defer timeout.Stop()
	select {
	case frames := <-done:
		return frames
	case <-timeout.C:
		return nil
	}
}

const (
	// maxBudget is how long may be waited at once after a time without waiting.
	maxBudget = 200 * time.Millisecond
	// share of all time may be waited.
	share = 10
)

// budget is how long may be waited.
type budget struct {
	left  time.Duration
	asked time.Time
}

func (b *budget) at(now time.Time) time.Duration {
	if !b.asked.IsZero() {
		b.left = min(maxBudget, b.left+now.Sub(b.asked)/share)
	}
	b.asked = now
	return b.left
}
