// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// policyFiles is the policies of the configuration: files that must exist, and
// those of a directory that need not.
func policyFiles(files []string, dir string) ([]string, error) {
	all := slices.Clone(files)
	if dir == "" {
		return all, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read policy directory: %w", err)
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".yaml" || ext == ".yml" {
			all = append(all, filepath.Join(dir, e.Name()))
		}
	}
	return all, nil
}

// loadPolicies loads all of them or says what is wrong with each that cannot be.
func loadPolicies(files []string, add func(yaml []byte) error) error {
	var errs []error
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = add(text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("policy file %s: %w", file, err))
		}
	}
	return errors.Join(errs...)
}
