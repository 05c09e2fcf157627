// SPDX-License-Identifier: Apache-2.0

package canary

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// MarkKey is the annotation, or label, that a canary carries.
const MarkKey = "boltseal.doctor"

// Kill and Deny are files in the container that nobody but policies forbids to open.
const (
	Kill = sharedDir + "/kill"
	Deny = sharedDir + "/deny"
)

const (
	sharedDir   = "/boltseal-doctor"
	programPath = "/canary"

	// startTime is how long a runtime may take until the entrypoint runs.
	startTime = 60 * time.Second
	// endTime is how long it may take to tell that the entrypoint has ended.
	endTime = 30 * time.Second
	// removeTime bounds the removal of one container.
	removeTime = 30 * time.Second
	// pollInterval is how often is looked at what nobody tells about.
	pollInterval = 10 * time.Millisecond
	// removeInterval is the same for what a program has to be started for.
	removeInterval = 200 * time.Millisecond
)

// ErrLeft says that something could not be removed.
var ErrLeft = errors.New("left behind")

// Hook is an OCI hook at createRuntime.
type Hook struct {
	Path string
	Args []string
	// Timeout is after how many seconds the runtime gives it up.
	Timeout int
}

// Canary is one container to be.
type Canary struct {
	// Name is one that nothing else on the host has.
	Name string
	// Mark is the value of its annotation MarkKey.
	Mark string
	// Act is the file that it opens, Kill or Deny.
	Act string
	// Hook is put into the container. A runtime that its administrator registers
	// hooks with uses its own without one, and only this one otherwise.
	Hook *Hook
}

// Outcome is what became of a canary.
type Outcome struct {
	// Name is the canary's.
	Name string
	// ID is the runtime's; empty: the runtime has not made it.
	ID string
	// Ran tells that its entrypoint ran.
	Ran bool
	// Code is its exit status as shells count it, or that of the runtime's command.
	Code int
	// Said is what the runtime wrote or answered when it did not run.
	Said string
}

// Scene is the files that canaries are made of. It is for one goroutine.
type Scene struct {
	dir, name string
	made      int
}

// New makes the files of a scene. It needs root. Close it.
func New() (*Scene, error) {
	if uid := os.Geteuid(); uid != 0 {
		return nil, fmt.Errorf("this is user %d, and containers need root: run it as root", uid)
	}
	var suffix [4]byte
	_, _ = rand.Read(suffix[:]) // never fails
	s := &Scene{name: "boltseal-doctor-" + hex.EncodeToString(suffix[:])}
	s.dir = filepath.Join(os.TempDir(), s.name)
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, err
	}
	if err := s.build(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Scene) build() error {
	text, err := program(runtime.GOARCH)
	if err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return err
	}
	if st.Flags&unix.ST_NOEXEC != 0 {
		return fmt.Errorf("programs in %s cannot be run: name another directory with $TMPDIR", s.dir)
	}
	for _, dir := range []string{"proc", "dev", "sys", "tmp", "etc", "run", sharedDir} {
		if err := os.MkdirAll(filepath.Join(s.root(), dir), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(s.root(), programPath), text, 0o755) //nolint:gosec // a program
}

// Close removes the files. All canaries are gone then.
func (s *Scene) Close() error { return os.RemoveAll(s.dir) }

// Name begins the names of all that the scene makes.
func (s *Scene) Name() string { return s.name }

// Dir is the scene's directory, for files that have to go with it.
func (s *Scene) Dir() string { return s.dir }

// NextName is a name for a canary that nothing else on the host has.
func (s *Scene) NextName() string {
	s.made++
	return fmt.Sprintf("%s-%d", s.name, s.made)
}

func (s *Scene) root() string { return filepath.Join(s.dir, "root") }

// work is the directory of one canary, and shared the part that it sees.
func (s *Scene) work(c Canary) string   { return filepath.Join(s.dir, c.Name) }
func (s *Scene) shared(c Canary) string { return filepath.Join(s.work(c), "shared") }
func (s *Scene) gate(c Canary) string   { return filepath.Join(s.shared(c), "go") }

// args is the entrypoint.
func (s *Scene) args(c Canary) []string { return []string{programPath, sharedDir + "/go", c.Act} }

// archive writes the root as a tar file.
func (s *Scene) archive(to string) error {
	file, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w := tar.NewWriter(file)
	return errors.Join(w.AddFS(os.DirFS(s.root())), w.Close(), file.Close())
}

// prepare makes what a canary sees: a pipe that it waits at, and the two files.
func (s *Scene) prepare(c Canary) error {
	if err := os.MkdirAll(s.shared(c), 0o755); err != nil {
		return err
	}
	for _, path := range []string{Kill, Deny} {
		file := filepath.Join(s.shared(c), filepath.Base(path))
		if err := os.WriteFile(file, nil, 0o644); err != nil { //nolint:gosec // there is nothing in it
			return err
		}
	}
	if err := unix.Mkfifo(s.gate(c), 0o600); err != nil {
		return fmt.Errorf("make pipe %s: %w", s.gate(c), err)
	}
	return nil
}

// Run takes one canary through its life and removes it. It calls look while the
// entrypoint runs and waits, when it does. The error tells that the canary could not
// be made, seen or removed; a container that did not start is an outcome.
func (s *Scene) Run(ctx context.Context, r Runtime, c Canary, look func(ctx context.Context, id string) error) (o Outcome, err error) {
	o.Name = c.Name
	if ctx.Err() != nil {
		return o, context.Cause(ctx)
	}
	if err := s.prepare(c); err != nil {
		return o, err
	}
	p, err := r.start(ctx, s, c)
	if p != nil {
		defer func() { err = errors.Join(err, s.remove(p, c)) }()
	}
	if err != nil {
		return o, err
	}
	gate, err := s.reached(ctx, p, c)
	if err != nil {
		return o, err
	}
	if gate != nil {
		o.Ran = true
		o.ID, err = p.id()
		if err == nil && look != nil {
			err = look(ctx, o.ID)
		}
		// It goes on when nobody has the pipe open any more.
		if err = errors.Join(err, gate.Close()); err != nil {
			return o, err
		}
	}
	select {
	case <-p.done:
	case <-time.After(endTime):
		return o, fmt.Errorf("canary %s has not ended within %s of its act", c.Name, endTime)
	case <-ctx.Done():
		return o, context.Cause(ctx)
	}
	o.Code, o.Said = p.code, p.said
	return o, p.err
}

// reached waits until the canary waits at its pipe, and returns the pipe. It is nil
// when the runtime gave up before.
func (s *Scene) reached(ctx context.Context, p *process, c Canary) (gate *os.File, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, fmt.Errorf("the entrypoint of %s did not run within %s", c.Name, startTime))
	defer cancel()
	err = poll(ctx, pollInterval, func() bool {
		if gate = openGate(s.gate(c)); gate != nil {
			return true
		}
		select {
		case <-p.done:
			return true
		default:
			return false
		}
	})
	return gate, err
}

// openGate is nil while nobody waits at the pipe.
func openGate(path string) *os.File {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), path)
}

// remove ends and removes a container wherever it is in its life.
func (s *Scene) remove(p *process, c Canary) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), removeTime, fmt.Errorf("canary %s could not be ended within %s", c.Name, removeTime))
	defer cancel()
	// A runtime that is making the container does not know it yet: until its command
	// has ended, there may be more to remove.
	err := poll(ctx, removeInterval, func() bool {
		select {
		case <-p.done:
			return true
		default:
		}
		if gate := openGate(s.gate(c)); gate != nil {
			gate.Close()
		}
		_ = p.remove(ctx) // what counts is the last time
		return false
	})
	if err != nil && p.kill != nil {
		p.kill()
	}
	last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancelLast()
	err = errors.Join(err, p.remove(last), os.RemoveAll(s.work(c)))
	if p.close != nil {
		err = errors.Join(err, p.close())
	}
	if err != nil {
		return fmt.Errorf("%w: canary %s: %w", ErrLeft, c.Name, err)
	}
	return nil
}

// poll asks until the answer is yes or the context ends, whose cause it returns.
func poll(ctx context.Context, every time.Duration, ask func() bool) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for !ask() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
	return nil
}
