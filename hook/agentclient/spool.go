// SPDX-License-Identifier: Apache-2.0

package agentclient

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	// DefaultSpoolDir is where the agent looks for containers that were started
	// without it. It is on a tmpfs: after a boot there is nothing to report.
	DefaultSpoolDir = "/run/boltseal/spool"
	// DefaultBootedFile is the marker that the agent leaves, on a tmpfs, once it
	// has been up.
	DefaultBootedFile = "/run/boltseal/booted"
	// MaxSpoolFiles is the most files that the spool may hold.
	MaxSpoolFiles = 10_000
	// MaxSpoolBytes is the most bytes that they may hold together: the spool
	// lives in memory, and pods choose the size of their annotations.
	MaxSpoolBytes = 64 << 20
	// maxFileName keeps the name, its suffix and the temporary prefix below the
	// 255 bytes of a file name.
	maxFileName = 200
)

// ErrSpool tells that a container could not be written down for the agent.
var ErrSpool = errors.New("spool")

// Spool writes down, for the agent, that the container id was started without
// it: request is an encoded tetragon.RuntimeHookRequest with late set. The
// package comment has the format. A file of the same container is replaced.
// Errors wrap ErrSpool. The bounds on the spool are checked before the write, so
// many callers at once may pass them by a few files.
func Spool(dir, id string, request []byte) error {
	if err := spool(dir, id, request); err != nil {
		return fmt.Errorf("%w %s: %w", ErrSpool, dir, err)
	}
	return nil
}

func spool(dir, id string, request []byte) (retErr error) {
	if err := openSpool(dir); err != nil {
		return err
	}
	if err := checkRoom(dir, int64(len(request))); err != nil {
		return err
	}
	name := SpoolFile(id)
	file, err := os.CreateTemp(dir, "."+name+".*") // mode 0600, O_EXCL
	if err != nil {
		return err
	}
	defer func() {
		if retErr != nil {
			retErr = errors.Join(retErr, os.Remove(file.Name()))
		}
	}()
	_, err = file.Write(request)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), filepath.Join(dir, name))
}

// openSpool makes the directory when it is missing and refuses one that others
// could write to: the agent believes what it finds there.
func openSpool(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("not a directory")
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("mode %#o: must be closed to group and others", perm)
	}
	return nil
}

// checkRoom refuses a file for which the spool has no room.
func checkRoom(dir string, size int64) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) >= MaxSpoolFiles {
		return fmt.Errorf("full: %d files", len(entries))
	}
	for _, entry := range entries {
		// A file that the agent has just taken in is no fault.
		if info, err := entry.Info(); err == nil {
			size += info.Size()
		}
	}
	if size > MaxSpoolBytes {
		return fmt.Errorf("full: more than %d bytes", MaxSpoolBytes)
	}
	return nil
}

// SpoolFile returns the name of the file in which a container is written down.
// Different ids have different names, and none leaves the directory.
func SpoolFile(id string) string {
	var name strings.Builder
	name.WriteString("id-")
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
			name.WriteByte(c)
		default:
			fmt.Fprintf(&name, "%%%02X", c)
		}
	}
	if name.Len() > maxFileName {
		sum := sha256.Sum256([]byte(id))
		return "sha256-" + hex.EncodeToString(sum[:]) + ".pb"
	}
	return name.String() + ".pb"
}
