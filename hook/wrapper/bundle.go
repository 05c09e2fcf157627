// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/boltseal/boltseal/hook/bundle"
	"github.com/boltseal/boltseal/hook/readfile"
)

// AddToBundles adds the hook to each bundle that the command may mean, and tells
// whether one was changed. Of two candidates one may be no bundle at all.
func AddToBundles(c Command, hook Hook) (added bool, err error) {
	var missing []error
	for _, dir := range c.Bundles {
		one, err := addToFile(configFile(dir, c.Config), hook)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, err)
		case err != nil:
			return added, err
		}
		added = added || one
	}
	if len(missing) == len(c.Bundles) {
		return false, errors.Join(missing...)
	}
	return added, nil
}

// configFile is where the runtime reads the bundle's config.json. It reads another
// file that it was told of in the bundle's directory, too.
func configFile(dir, name string) string {
	switch {
	case name == "":
		name = "config.json"
	case filepath.IsAbs(name):
		return name
	}
	return filepath.Join(dir, name)
}

// addToFile adds the hook to one config.json. A reader sees it before or after, never
// in between.
func addToFile(path string, hook Hook) (added bool, err error) {
	raw, info, err := readfile.Regular(path, bundle.MaxConfig)
	if err != nil {
		return false, fmt.Errorf("%w: read: %w", bundle.ErrConfig, err)
	}
	edited, added, err := AddHook(raw, hook)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	if !added {
		return false, nil
	}
	if err := replaceFile(path, edited, info); err != nil {
		return false, fmt.Errorf("%s: add the hook: %w", path, err)
	}
	return true, nil
}

// replaceFile puts content in the file's place, with the mode and the owner of the one
// that was read.
func replaceFile(path string, content []byte, was fs.FileInfo) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".boltseal-*.json")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	_, err = file.Write(content)
	if owner, ok := was.Sys().(*syscall.Stat_t); ok && err == nil {
		err = file.Chown(int(owner.Uid), int(owner.Gid))
	}
	if err == nil {
		// Behind the change of owner, which takes the set-id bits away.
		err = file.Chmod(was.Mode())
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
