// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrLoop tells that what is to be executed as the runtime is the wrapper itself.
var ErrLoop = errors.New("the runtime is boltseal-hook itself")

// namePrefix is what a wrapper's name has before the runtime's.
const namePrefix = "boltseal-"

// usualPath is searched when there is no $PATH: a service may have none.
const usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// RuntimeOf returns the name of the runtime in whose place a program of that name
// works: "runc" for boltseal-runc; empty for others. boltseal-hook has the hook's own.
func RuntimeOf(program string) string {
	name, ok := strings.CutPrefix(program, namePrefix)
	if !ok || strings.HasPrefix(name, "hook") {
		return ""
	}
	return name
}

// Find returns the path of a runtime. One with a slash must be absolute, and is
// checked; a name is searched for in the directories of path ($PATH), the usual ones
// when it is empty, and files that are the wrapper itself are passed by. self is what
// the wrapper is. Errors wrap ErrLoop or fs.ErrNotExist, or are those of stat.
func Find(runtime, path string, self fs.FileInfo) (string, error) {
	if strings.Contains(runtime, "/") {
		return check(runtime, self)
	}
	if runtime == "" {
		return "", errors.New("runtime: no name and no path")
	}
	if path == "" {
		path = usualPath
	}
	loop := false
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue // the working directory is often a container's bundle
		}
		found, err := check(filepath.Join(dir, runtime), self)
		if err == nil {
			return found, nil
		}
		loop = loop || errors.Is(err, ErrLoop)
	}
	if loop {
		return "", fmt.Errorf("runtime %s: %w, wherever $PATH leads", runtime, ErrLoop)
	}
	return "", fmt.Errorf("runtime %s: in no directory of %s: %w", runtime, path, fs.ErrNotExist)
}

// check returns the path if it is an executable file other than the wrapper.
func check(path string, self fs.FileInfo) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("runtime %s: not an absolute path", path)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", fmt.Errorf("runtime: %w", err)
	case os.SameFile(info, self):
		return "", fmt.Errorf("runtime %s: %w: it would call itself for ever", path, ErrLoop)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return "", fmt.Errorf("runtime %s: not an executable file", path)
	}
	return path, nil
}
