// SPDX-License-Identifier: Apache-2.0

package daemon

import (
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
)

// replaySpool takes in the containers that hooks let start while the agent was
// away. Files that were taken in, or that tell of a container that is gone, are
// removed; the rest stays for the next time.
func replaySpool(dir string, admit func(control.Admission) error, log *slog.Logger) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read spool: %w", err)
	}
	for _, entry := range entries {
		file := filepath.Join(dir, entry.Name())
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
			log.Warn("spool holds what no hook wrote", "file", file)
			continue
		}
		replay(file, admit, log)
	}
	return nil
}

func replay(file string, admit func(control.Admission) error, log *slog.Logger) {
	text, err := os.ReadFile(file)
	if err != nil {
		log.Warn("read spooled request", "file", file, "error", err)
		return
	}
	request := &tetragon.RuntimeHookRequest{}
	if err := proto.Unmarshal(text, request); err != nil {
		log.Warn("decode spooled request", "file", file, "error", err)
		return
	}
	if c := request.GetCreateContainer(); c != nil {
		c.Late = true
	}
	a, err := server.Admission(request)
	if err == nil {
		err = admit(a)
	}
	switch {
	case err == nil:
		log.Warn("container started while the agent was away: sealed late", "container", a.Container.ID)
	case errors.Is(err, control.ErrInvalid):
		log.Info("container that started while the agent was away is gone", "container", a.Container.ID, "error", err)
	default:
		log.Error("seal container that started while the agent was away", "container", a.Container.ID, "error", err)
		return
	}
	if err := os.Remove(file); err != nil {
		log.Warn("remove spooled request", "file", file, "error", err)
	}
}
