// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/agent/internal/server"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

const (
	spoolSuffix = ".pb"
	// maxSpoolFile bounds one request; the hook writes smaller ones.
	maxSpoolFile = 8 << 20
	// staleAfter is when a file that a hook did not finish is left over.
	staleAfter = time.Minute
	// replayEvery is how often a running agent looks whether a hook gave up on it.
	replayEvery = time.Second
)

// spool is what hooks left: requests for containers that they let start while
// the agent did not answer.
type spool struct {
	dir   string
	admit func(control.Admission) error
	log   *slog.Logger
	// told is the files that were complained about, so that it is done once.
	told map[string]bool
}

func newSpool(dir string, admit func(control.Admission) error, log *slog.Logger) *spool {
	return &spool{dir: dir, admit: admit, log: log, told: map[string]bool{}}
}

// run replays the spool again and again until the context ends: an agent that
// was too slow for a hook is there, and must hear of it.
func (s *spool) run(ctx context.Context) error {
	tick := time.NewTicker(replayEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.replay(); err != nil {
				s.complain(slog.LevelError, "replay spool", s.dir, err)
			}
		}
	}
}

// replay takes in the containers of the spool. Files that were taken in, or that
// tell of a container that is gone, are removed; the rest stays for the next time.
func (s *spool) replay() error {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read spool: %w", err)
	}
	for _, entry := range entries {
		file := filepath.Join(s.dir, entry.Name())
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if strings.HasPrefix(entry.Name(), ".") {
			if time.Since(info.ModTime()) > staleAfter {
				os.Remove(file)
			}
			continue
		}
		if !strings.HasSuffix(entry.Name(), spoolSuffix) || info.Size() > maxSpoolFile {
			s.complain(slog.LevelWarn, "spool holds what no hook wrote", file, nil)
			continue
		}
		s.take(file)
	}
	return nil
}

// complain says once what is wrong with a file.
func (s *spool) complain(level slog.Level, message, file string, err error) {
	if s.told[file] {
		return
	}
	s.told[file] = true
	s.log.Log(context.Background(), level, "spooled request", "what", message, "file", file, "error", err)
}

func (s *spool) take(file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		s.complain(slog.LevelWarn, "read spooled request", file, err)
		return
	}
	request := &tetragon.RuntimeHookRequest{}
	if err := proto.Unmarshal(text, request); err != nil {
		s.complain(slog.LevelWarn, "decode spooled request", file, err)
		return
	}
	if c := request.GetCreateContainer(); c != nil {
		c.Late = true
	}
	a, err := server.Admission(request)
	if err == nil {
		err = s.admit(a)
	}
	switch {
	case err == nil:
		s.log.Warn("container started without the agent: sealed late", "container", a.Container.ID)
	case errors.Is(err, control.ErrInvalid):
		s.log.Info("container that started without the agent is gone", "container", a.Container.ID, "error", err)
	default:
		s.complain(slog.LevelError, "seal container that started without the agent", file, err)
		return
	}
	delete(s.told, file)
	if err := os.Remove(file); err != nil {
		s.complain(slog.LevelWarn, "remove spooled request", file, err)
	}
}
