// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
)

const (
	// runcTime bounds one run of runc, its hooks included.
	runcTime = 30 * time.Second
	// endTime is how long an entrypoint may take to read two files.
	endTime = 20 * time.Second
	// outputDelay bounds the wait for output after a program has ended.
	outputDelay = 2 * time.Second
)

// Container is one container of a stage.
type Container struct {
	// Role names it for people, in few letters: it is a part of the id.
	Role string
	// Root is the directory of its files, see [Stage.BuildRoot].
	Root string
	// Args are its entrypoint.
	Args []string
	// Annotations are those of its configuration.
	Annotations map[string]string
	// Capabilities are those of its first process, as "CAP_CHOWN".
	Capabilities []string
	// ID is runc's, CgroupPath that of its cgroup in all hierarchies.
	ID, CgroupPath string

	init int // its first process, once created
}

// runc runs containers with a state directory of its own.
type runc struct {
	path string
	scene
}

// run runs one command to its end, also when the context ends meanwhile: runc
// that is killed leaves half a container behind.
func (r runc) run(ctx context.Context, stdout *os.File, args ...string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), runcTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.path, append([]string{"--root", r.runcRoot(), "--log", r.log()}, args...)...)
	var stderr bytes.Buffer
	if stdout != nil {
		cmd.Stdout, cmd.Stderr = stdout, stdout
	} else {
		cmd.Stderr = &stderr
	}
	cmd.WaitDelay = outputDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(stderr.String())
		if text == "" {
			log, _ := os.ReadFile(r.log())
			text = strings.TrimSpace(string(log))
		}
		return fmt.Errorf("runc %s: %w: %s", args[0], err, quote.Text(text))
	}
	return nil
}

func (r runc) log() string { return filepath.Join(r.dir, "runc.log") }

func (r runc) output(c *Container) string { return filepath.Join(r.bundle(c.Role), "output") }

// create makes the container: afterwards all is there but its entrypoint has not
// run. Its hooks have been called.
func (r runc) create(ctx context.Context, c *Container, u *undo) error {
	output, err := os.OpenFile(r.output(c), os.O_CREATE|os.O_WRONLY|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer output.Close()
	u.later("delete container "+c.ID, func(ctx context.Context) error { return r.remove(ctx, c) })
	pidFile := filepath.Join(r.bundle(c.Role), "pid")
	if err := r.run(ctx, output, "create", "--bundle", r.bundle(c.Role), "--pid-file", pidFile, c.ID); err != nil {
		return err
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return err
	}
	c.init, err = strconv.Atoi(strings.TrimSpace(string(text)))
	return err
}

// start lets the entrypoint run.
func (r runc) start(ctx context.Context, c *Container) error { return r.run(ctx, nil, "start", c.ID) }

// wait waits for the end of the container's first process, which is a child of
// this process once runc has gone; see adoptOrphans.
func (r runc) wait(ctx context.Context, c *Container) (status unix.WaitStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	err = poll(ctx, func() (bool, error) {
		pid, err := unix.Wait4(c.init, &status, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			return false, nil
		}
		return pid == c.init, err
	})
	if err != nil {
		return 0, fmt.Errorf("wait for container %s: %w", c.Role, err)
	}
	c.init = 0
	return status, nil
}

// remove kills and deletes the container when it is there.
func (r runc) remove(ctx context.Context, c *Container) error {
	if _, err := os.Stat(filepath.Join(r.runcRoot(), c.ID)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err := r.run(ctx, nil, "delete", "--force", c.ID)
	if c.init > 0 {
		_, waitErr := r.wait(ctx, c)
		err = errors.Join(err, waitErr)
	}
	return err
}

// adoptOrphans makes this process the parent of processes that lose theirs, so
// that it can see how containers end.
func adoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	return nil
}
