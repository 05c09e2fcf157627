// SPDX-License-Identifier: Apache-2.0

// Package settings reads the configuration that the OCI hook and the NRI plugin
// share: one file says where the agent is and what happens without its word.
package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/boltseal/boltseal/hook/agentclient"
	"github.com/boltseal/boltseal/hook/readfile"
)

const (
	// DefaultFile is where the configuration is by default; it may be missing.
	DefaultFile = "/etc/boltseal/hook.json"
	// MaxFile bounds the configuration file, in bytes.
	MaxFile = 1 << 20
	// DefaultDeadline is for everything that is done about one container.
	DefaultDeadline = 2 * time.Second
	// minDeadline leaves room for the process itself to start and to end.
	minDeadline = 10 * time.Millisecond
	maxDeadline = 30 * time.Second
)

// File is the configuration file as it is written; empty strings mean the default.
type File struct {
	Address    string                 `json:"address"`
	Deadline   string                 `json:"deadline"`
	LogFile    string                 `json:"log_file"`
	SpoolDir   string                 `json:"spool_dir"`
	BootedFile string                 `json:"booted_file"`
	FailPolicy agentclient.FailPolicy `json:"fail_policy"`
	Runtimes   map[string]Runtime     `json:"runtimes"`
}

// Runtime is a runtime that the hook's binary wraps.
type Runtime struct {
	// Path is the runtime's program, absolute.
	Path string `json:"path"`
}

// Settings are what is gone by, with all defaults in place.
type Settings struct {
	// Address is the agent's.
	Address string
	// Deadline is for everything about one container.
	Deadline time.Duration
	// LogFile may be empty; "-" is standard error.
	LogFile string
	// SpoolDir is where containers are written down that started without the
	// agent; BootedFile tells whether it has been up since boot.
	SpoolDir, BootedFile string
	FailPolicy           agentclient.FailPolicy
	// Runtimes are by the names that the hook's binary is called by in their place.
	Runtimes map[string]Runtime
}

// Load reads the file at path, or the default one where path is empty, and lays
// over on top of it: what it has set wins. Everything that is wrong is told at
// once; the settings then hold the defaults and what over says, for a log only.
func Load(path string, over File) (Settings, error) {
	file, fileErr := read(path)
	s := Settings{
		Address:    pick(over.Address, file.Address, agentclient.DefaultAddress),
		Deadline:   DefaultDeadline,
		LogFile:    pick(over.LogFile, file.LogFile),
		SpoolDir:   pick(over.SpoolDir, file.SpoolDir, agentclient.DefaultSpoolDir),
		BootedFile: pick(over.BootedFile, file.BootedFile, agentclient.DefaultBootedFile),
		FailPolicy: file.FailPolicy,
		Runtimes:   file.Runtimes,
	}
	if over.FailPolicy.Default != "" {
		s.FailPolicy.Default = over.FailPolicy.Default
	}
	var deadlineErr error
	if text := pick(over.Deadline, file.Deadline); text != "" {
		s.Deadline, deadlineErr = parseDeadline(text)
	}
	return s, errors.Join(fileErr, deadlineErr, s.check())
}

// check refuses values that could not be used later, when it is too late to say
// so.
func (s Settings) check() error {
	_, err := agentclient.SocketPath(s.Address)
	return errors.Join(err, s.FailPolicy.Validate(), wantAbs("spool_dir", s.SpoolDir),
		wantAbs("booted_file", s.BootedFile), wantAbs("log_file", s.LogFile), checkRuntimes(s.Runtimes))
}

func checkRuntimes(runtimes map[string]Runtime) error {
	for _, name := range slices.Sorted(maps.Keys(runtimes)) {
		switch path := runtimes[name].Path; {
		case name == "" || name != filepath.Base(name):
			return fmt.Errorf("runtimes[%q]: not the name of a program", name)
		case name == "boltseal-hook":
			return fmt.Errorf("runtimes[%q]: the name is the hook's own", name)
		case !filepath.IsAbs(path):
			return fmt.Errorf("runtimes[%q].path %q: not an absolute path", name, path)
		}
	}
	return nil
}

// HookTimeout is how many seconds a runtime is to give the hook, which ends by itself
// before.
func (s Settings) HookTimeout() int { return int(s.Deadline/time.Second) + 2 }

// NeverUp tells whether the agent has not been up since boot. Only a marker that
// is surely missing counts as missing: the answer may be the weaker policy.
func (s Settings) NeverUp() bool {
	_, err := os.Lstat(s.BootedFile)
	return errors.Is(err, fs.ErrNotExist)
}

// wantAbs refuses a relative path: the working directory is whatever the runtime
// left it in.
func wantAbs(name, path string) error {
	if path == "" || path == "-" || filepath.IsAbs(path) {
		return nil
	}
	return fmt.Errorf("%s %q: not an absolute path", name, path)
}

func parseDeadline(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return DefaultDeadline, fmt.Errorf("deadline: %w", err)
	}
	if d < minDeadline || d > maxDeadline {
		return DefaultDeadline, fmt.Errorf("deadline %s: want %s to %s", d, minDeadline, maxDeadline)
	}
	return d, nil
}

// read reads and decodes the configuration. Only the default file may be
// missing; one that was asked for by name may not.
func read(path string) (File, error) {
	name := pick(path, DefaultFile)
	raw, info, err := readfile.Regular(name, MaxFile)
	if path == "" && errors.Is(err, fs.ErrNotExist) {
		return File{}, nil
	}
	if err != nil {
		return File{}, fmt.Errorf("read configuration: %w", err)
	}
	// Who can write to the file decides which containers start unsealed.
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		return File{}, fmt.Errorf("configuration %s: mode %#o: others than the owner may write to it", name, perm)
	}
	file, err := decode(raw)
	if err != nil {
		return File{}, fmt.Errorf("configuration %s: %w", name, err)
	}
	return file, nil
}

// decode decodes strictly: an unknown key is most likely a misspelled one.
func decode(raw []byte) (File, error) {
	var file File
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return File{}, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return File{}, errors.New("text behind the end of the JSON object")
	}
	return file, nil
}

// pick returns the first value that is not empty.
func pick(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}
