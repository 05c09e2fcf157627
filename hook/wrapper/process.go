// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/boltseal/boltseal/hook/bundle"
	"github.com/boltseal/boltseal/hook/readfile"
)

// maxProcess bounds a process.json in bytes.
const maxProcess = 4 << 20

// Process is a process that exec is to start in a container.
type Process struct {
	Args []string
	// Cwd and User are as they are written; empty: the container's own.
	Cwd, User string
	TTY       bool
}

// ParseProcess reads a process.json: the process of the OCI runtime specification.
func ParseProcess(raw []byte) (Process, error) {
	var in struct {
		Args     []string `json:"args"`
		Cwd      string   `json:"cwd"`
		Terminal bool     `json:"terminal"`
		User     struct {
			UID      uint32 `json:"uid"`
			GID      uint32 `json:"gid"`
			Username string `json:"username"`
		} `json:"user"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return Process{}, fmt.Errorf("process: %w", err)
	}
	p := Process{Args: in.Args, Cwd: in.Cwd, TTY: in.Terminal, User: in.User.Username}
	if p.User == "" {
		p.User = strconv.FormatUint(uint64(in.User.UID), 10) + ":" + strconv.FormatUint(uint64(in.User.GID), 10)
	}
	return p, nil
}

// NoticeOf is what the agent is told before pid becomes the runtime that carries out
// the command, which is exec.
func NoticeOf(c Command, pid int) (bundle.ExecNotice, error) {
	p := c.Exec
	if c.ProcessFile != "" {
		raw, _, err := readfile.Regular(c.ProcessFile, maxProcess)
		if err != nil {
			return bundle.ExecNotice{}, fmt.Errorf("process: %w", err)
		}
		if p, err = ParseProcess(raw); err != nil {
			return bundle.ExecNotice{}, err
		}
	}
	return bundle.ExecNotice{
		ContainerID: c.ID, Args: p.Args, Cwd: p.Cwd, User: p.User, TTY: p.TTY || c.Exec.TTY, RuntimePid: uint32(pid),
	}, nil
}
