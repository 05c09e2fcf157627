// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// WriteError appends an error to the log that the runtime was told to write, in the
// form that it was told: there engines look for the reason of a failure. Without such a
// log, or with one that is no file, nothing is done.
func WriteError(c Command, text string, at time.Time) error {
	path, isFile := strings.CutPrefix(c.Log, "file:") // crun's form
	if path == "" || path == "/dev/stderr" || !isFile && (strings.HasPrefix(path, "journald:") || strings.HasPrefix(path, "syslog:")) {
		return nil
	}
	line, err := errorLine(c.LogFormat, text, at)
	if err != nil {
		return err
	}
	// A pipe without a reader is an error rather than a wait.
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE | syscall.O_NONBLOCK | syscall.O_NOCTTY
	file, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return fmt.Errorf("the runtime's log: %w", err)
	}
	_, err = file.Write(line)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return err
}

// errorLine is one line as runc and crun write it.
func errorLine(format, text string, at time.Time) ([]byte, error) {
	stamp := at.Format(time.RFC3339)
	if format != "json" {
		return fmt.Appendf(nil, "time=%q level=error msg=%q\n", stamp, text), nil
	}
	line, err := json.Marshal(struct {
		Level string `json:"level"`
		Msg   string `json:"msg"`
		Time  string `json:"time"`
	}{"error", text, stamp})
	return append(line, '\n'), err
}
