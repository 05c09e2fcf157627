// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

var (
	// ErrState tells that the OCI state can not be used: no state, not JSON, or
	// a field without which no container can be named.
	ErrState = errors.New("OCI state")
	// ErrConfig tells that the bundle's config.json can not be used.
	ErrConfig = errors.New("config.json")
	// ErrRequest tells that state and config.json were readable, but no request
	// that the agent would accept can be made of them.
	ErrRequest = errors.New("request")
)

const (
	// MaxState is the most bytes of OCI state that are worth reading. The state
	// repeats all annotations of config.json, so it is of the same order.
	MaxState = 4 << 20
	// MaxConfig is the most bytes of config.json that are worth reading.
	MaxConfig = 16 << 20
	// MaxID is the longest container id, in bytes: runtimes make a directory of
	// that name, and file names end at 255.
	MaxID = 255
	// MaxPath is the longest path that is accepted, in bytes (PATH_MAX).
	MaxPath = 4096
)

// State is the part of the OCI state that the hook uses.
type State struct {
	// Version is the version of the specification that the runtime claims.
	Version string
	// ID is the container id, never empty.
	ID string
	// Status is the container's status as the runtime spells it.
	Status string
	// Pid is the pid of the container's init as the runtime sees it, 0 when the
	// state has none.
	Pid int
	// Bundle is the absolute path of the bundle.
	Bundle string
	// Annotations are the state's, which runtimes copy from config.json.
	Annotations map[string]string
	// Replaced is true when bytes that are no UTF-8 were replaced by U+FFFD.
	Replaced bool
}

// ParseState reads the JSON that a runtime writes to a hook's standard input.
// Errors wrap ErrState. Unknown fields are accepted (crun adds some), a second
// value behind the first is not.
func ParseState(raw []byte) (State, error) {
	if len(strings.TrimSpace(string(raw[:min(len(raw), 64)]))) == 0 {
		return State{}, fmt.Errorf("%w: nothing on standard input", ErrState)
	}
	if len(raw) > MaxState {
		return State{}, fmt.Errorf("%w: larger than %d bytes", ErrState, MaxState)
	}
	var in specs.State
	if err := json.Unmarshal(raw, &in); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrState, err)
	}
	s := State{
		Version: in.Version, ID: in.ID, Status: string(in.Status), Pid: in.Pid,
		Bundle: in.Bundle, Annotations: in.Annotations, Replaced: !utf8.Valid(raw),
	}
	if err := s.check(); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrState, err)
	}
	return s, nil
}

// check refuses a state that names no container.
func (s State) check() error {
	switch {
	case s.ID == "":
		return errors.New("id is missing")
	case len(s.ID) > MaxID:
		return fmt.Errorf("id has %d bytes, more than %d", len(s.ID), MaxID)
	case strings.ContainsAny(s.ID, "/\x00"):
		return fmt.Errorf("id %q holds a slash or a NUL", s.ID)
	case s.Bundle == "":
		return errors.New("bundle is missing")
	case !filepath.IsAbs(s.Bundle):
		return fmt.Errorf("bundle %q is not an absolute path", clip(s.Bundle))
	}
	return checkPath("bundle", s.Bundle)
}

// checkPath refuses what no system call would take as a path.
func checkPath(name, path string) error {
	if len(path) > MaxPath {
		return fmt.Errorf("%s has %d bytes, more than %d", name, len(path), MaxPath)
	}
	if strings.IndexByte(path, 0) >= 0 {
		return fmt.Errorf("%s %q holds a NUL", name, clip(path))
	}
	return nil
}

// clip shortens text that is quoted in an error, since it may be megabytes.
func clip(s string) string {
	const most = 128
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
