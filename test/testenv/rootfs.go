// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/test/testenv/probe"
)

// Secret is in /etc/shadow of every container: whoever prints it has read the file.
const Secret = "boltseal-test-secret"

// ActorPath is where containers have the program of test/actor.
const ActorPath = "/bin/actor"

// Rootfs returns the root file system that all containers of this test process
// share, read-only: busybox with its applets, the actor, /etc/passwd, /etc/shadow
// with [Secret] in it, and empty directories to mount on. It is made once.
func Rootfs(tb testing.TB) string {
	tb.Helper()
	actor := Binary(tb, "./test/actor")
	s := of(tb)
	dir, err := s.once("rootfs", func() (string, error) {
		dir := filepath.Join(s.dir, "rootfs")
		return dir, makeRootfs(dir, actor)
	})
	if err != nil {
		tb.Fatalf("testenv: make a root file system: %v", err)
	}
	return dir
}

func makeRootfs(dir, actor string) error {
	for _, d := range []string{"bin", "cg", "dev", "etc", "proc", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	files := []struct {
		path, text string
		mode       os.FileMode
	}{
		{"etc/passwd", "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n", 0o644},
		{"etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644},
		{"etc/shadow", "root:" + Secret + ":1::::::\n", 0o640},
		{"etc/hostname", "boltseal-test\n", 0o644},
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.path), []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	busybox, err := probe.Busybox()
	if err != nil {
		return err
	}
	for from, to := range map[string]string{busybox: "bin/busybox", actor: strings.TrimPrefix(ActorPath, "/")} {
		if err := copyProgram(from, filepath.Join(dir, to)); err != nil {
			return err
		}
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the applets of %s: %w", busybox, err)
	}
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet == "busybox" {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", applet)); err != nil {
			return err
		}
	}
	return nil
}

// copyProgram copies: a link would let a container's bug write to the host's file.
func copyProgram(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}
