// SPDX-License-Identifier: Apache-2.0

//go:build linux

package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// BinariesVariable names a directory with the project's programs, each called by
// the last element of its package's path, for machines that have no Go: they are
// used as they are, and nothing is built.
const BinariesVariable = "BOLTSEAL_TEST_BINARIES"

// Binary builds the program whose package is pkg, a path below the module's
// root as in "./hook", and returns where it is. It is static, and built once per
// test process from the sources as they are, or comes from [BinariesVariable].
func Binary(tb testing.TB, pkg string) string {
	tb.Helper()
	s := of(tb)
	path, err := s.once("binary "+pkg, func() (string, error) {
		if dir := os.Getenv(BinariesVariable); dir != "" {
			return ready(dir, pkg)
		}
		return s.build(pkg)
	})
	if err != nil {
		tb.Fatalf("testenv: %v", err)
	}
	return path
}

// ready returns the program that somebody else has built.
func ready(dir, pkg string) (string, error) {
	path := filepath.Join(dir, filepath.Base(pkg))
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s has no program of %s: %w", BinariesVariable, pkg, err)
	}
	return path, nil
}

func (s *session) build(pkg string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(s.dir, "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	out := filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return out, nil
}

// moduleRoot returns the directory of the project's go.mod: tests run in the
// directory of their package.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find go.mod: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if filepath.Base(mod) != "go.mod" {
		return "", errors.New("find go.mod: tests do not run inside the module")
	}
	return filepath.Dir(mod), nil
}
