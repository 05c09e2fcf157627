// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// module is a kernel module, uncompressed.
type module struct {
	name string
	code []byte
}

// moduleFiles are the modules of a kernel by name: the files may be compressed.
type moduleFiles map[string]string

// findModules returns the modules in unpacked packages.
func findModules(root string) (moduleFiles, error) {
	found := moduleFiles{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if name, _, isModule := strings.Cut(filepath.Base(path), ".ko"); err == nil && isModule && d.Type().IsRegular() {
			found[canonical(name)] = path
		}
		return err
	})
	return found, err
}

// canonical is how the kernel calls a module; files may have dashes.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// withDependencies returns the modules that are there, each after those that it
// needs. What is not there is built in, or is not of this kernel.
func (f moduleFiles) withDependencies(names []string) ([]module, error) {
	var ordered []module
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		name = canonical(name)
		path, there := f[name]
		if !there || seen[name] {
			return nil
		}
		seen[name] = true
		code, err := uncompressed(path)
		if err != nil {
			return err
		}
		needs, err := moduleNeeds(code)
		if err != nil {
			return fmt.Errorf("read module %s: %w", name, err)
		}
		for _, need := range needs {
			if err := add(need); err != nil {
				return err
			}
		}
		ordered = append(ordered, module{name: name, code: code})
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return ordered, nil
}

func uncompressed(path string) ([]byte, error) {
	switch filepath.Ext(path) {
	case ".ko":
		return os.ReadFile(path)
	case ".xz":
		code, err := exec.Command("xz", "--decompress", "--stdout", path).Output()
		if err != nil {
			return nil, fmt.Errorf("uncompress %s: %w", path, err)
		}
		return code, nil
	default:
		return nil, fmt.Errorf("uncompress %s: unknown kind of file", path)
	}
}

// moduleNeeds returns the modules that must be loaded before one, from the
// information that it carries: hard needs, and the soft ones that go first.
func moduleNeeds(code []byte) ([]string, error) {
	file, err := elf.NewFile(bytes.NewReader(code))
	if err != nil {
		return nil, err
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, errors.New("it carries no information")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	var needs []string
	for entry := range strings.SplitSeq(string(info), "\x00") {
		key, value, _ := strings.Cut(entry, "=")
		switch key {
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				if name != "" {
					needs = append(needs, name)
				}
			}
		case "softdep":
			if before, found := strings.CutPrefix(value, "pre:"); found {
				before, _, _ = strings.Cut(before, "post:")
				needs = append(needs, strings.Fields(before)...)
			}
		}
	}
	return needs, nil
}
