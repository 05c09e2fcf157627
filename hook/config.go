// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/boltseal/boltseal/hook/agentclient"
)

const (
	defaultConfigFile = "/etc/boltseal/hook.json"
	// maxConfigFile bounds the configuration file in bytes.
	maxConfigFile   = 1 << 20
	defaultDeadline = 2 * time.Second
	// minDeadline leaves room for the process itself to start and to end.
	minDeadline = 10 * time.Millisecond
	maxDeadline = 30 * time.Second
	// maxReserve is the most time that is kept for spool and log.
	maxReserve = 100 * time.Millisecond
)

// config is what one run goes by.
type config struct {
	address    string
	deadline   time.Duration
	logFile    string
	spoolDir   string
	bootedFile string
	failPolicy agentclient.FailPolicy
}

// fileConfig is the configuration file as it is written.
type fileConfig struct {
	Address    string                 `json:"address"`
	Deadline   string                 `json:"deadline"`
	LogFile    string                 `json:"log_file"`
	SpoolDir   string                 `json:"spool_dir"`
	BootedFile string                 `json:"booted_file"`
	FailPolicy agentclient.FailPolicy `json:"fail_policy"`
}

// loadConfig joins file, flags and defaults, and checks the whole. On an error
// the config holds the defaults and what the flags say, for the log only.
func loadConfig(o options) (config, error) {
	file, fileErr := readConfigFile(o.config)
	cfg := config{
		address:    pick(o.address, file.Address, agentclient.DefaultAddress),
		deadline:   defaultDeadline,
		logFile:    pick(o.logFile, file.LogFile),
		spoolDir:   pick(o.spoolDir, file.SpoolDir, agentclient.DefaultSpoolDir),
		bootedFile: pick(file.BootedFile, agentclient.DefaultBootedFile),
		failPolicy: file.FailPolicy,
	}
	if o.failPolicy != "" {
		cfg.failPolicy.Default = agentclient.Answer(o.failPolicy)
	}
	var deadlineErr error
	if text := pick(o.deadline, file.Deadline); text != "" {
		cfg.deadline, deadlineErr = parseDeadline(text)
	}
	return cfg, errors.Join(fileErr, deadlineErr, cfg.check())
}

// check refuses values that could not be used later, when it is too late to say
// so.
func (c config) check() error {
	_, err := agentclient.SocketPath(c.address)
	return errors.Join(err, c.failPolicy.Validate(), wantAbs("spool_dir", c.spoolDir),
		wantAbs("booted_file", c.bootedFile), wantAbs("log_file", c.logFile))
}

// wantAbs refuses a relative path: the hook's working directory is whatever the
// runtime left it in.
func wantAbs(name, path string) error {
	if path == "" || path == "-" || filepath.IsAbs(path) {
		return nil
	}
	return fmt.Errorf("%s %q: not an absolute path", name, path)
}

func parseDeadline(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return defaultDeadline, fmt.Errorf("deadline: %w", err)
	}
	if d < minDeadline || d > maxDeadline {
		return defaultDeadline, fmt.Errorf("deadline %s: want %s to %s", d, minDeadline, maxDeadline)
	}
	return d, nil
}

// readConfigFile reads and decodes the configuration. Only the default file may
// be missing; one that was asked for by name may not.
func readConfigFile(path string) (fileConfig, error) {
	name := pick(path, defaultConfigFile)
	raw, info, err := readRegular(name, maxConfigFile)
	if path == "" && errors.Is(err, fs.ErrNotExist) {
		return fileConfig{}, nil
	}
	if err != nil {
		return fileConfig{}, fmt.Errorf("read configuration: %w", err)
	}
	// Who can write to the file decides which containers start unsealed.
	if perm := info.Mode().Perm(); perm&0o022 != 0 {
		return fileConfig{}, fmt.Errorf("configuration %s: mode %#o: others than the owner may write to it", name, perm)
	}
	file, err := decodeConfig(raw)
	if err != nil {
		return fileConfig{}, fmt.Errorf("configuration %s: %w", name, err)
	}
	return file, nil
}

// decodeConfig decodes strictly: an unknown key is most likely a misspelled one.
func decodeConfig(raw []byte) (fileConfig, error) {
	var file fileConfig
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return fileConfig{}, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fileConfig{}, errors.New("text behind the end of the JSON object")
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

// seenSinceBoot tells whether the agent's marker is there. Only a marker that is
// surely missing counts as missing: the answer may be the weaker policy.
func seenSinceBoot(marker string) bool {
	_, err := os.Lstat(marker)
	return !errors.Is(err, fs.ErrNotExist)
}
