// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// tools is the programs that a stage is made of, as absolute paths.
type tools struct {
	agent, hook, runc, busybox string
}

// findTools finds all of them or says what to do about each that is missing.
func findTools(binDir string) (t tools, err error) {
	var errs []error
	find := func(to *string, path string, err error) {
		*to = path
		errs = append(errs, err)
	}
	agent, err := own(binDir, "boltseald")
	find(&t.agent, agent, err)
	hook, err := own(binDir, "boltseal-hook")
	find(&t.hook, hook, err)
	runc, err := installed("runc", "runc")
	find(&t.runc, runc, err)
	busybox, err := static("busybox", "busybox-static")
	find(&t.busybox, busybox, err)
	return t, errors.Join(errs...)
}

// own finds a program of this project.
func own(dir, name string) (string, error) {
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err == nil {
		err = executable(path)
	}
	if err != nil {
		return "", fmt.Errorf("find %s: %w: build it with make build, or name its directory with --bin-dir", name, err)
	}
	return path, nil
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is no program", path)
	}
	return nil
}

// installed finds a program of a Debian package.
func installed(name, debian string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", fmt.Errorf("find %s: %w: install it (Debian package %s)", name, err, debian)
	}
	return path, nil
}

// static finds a program that runs without the files of a distribution.
func static(name, debian string) (string, error) {
	path, err := installed(name, debian)
	if err != nil {
		return "", err
	}
	file, err := elf.Open(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	defer file.Close()
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			return "", fmt.Errorf("%s needs shared libraries, which the containers do not have: install the static one (Debian package %s)", path, debian)
		}
	}
	return path, nil
}
