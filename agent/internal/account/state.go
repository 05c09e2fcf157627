// SPDX-License-Identifier: Apache-2.0

package account

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

var errNoFile = errors.New("not a regular file")

// look is the state that a file is in.
func look(path string) (state, error) {
	info, err := os.Stat(path)
	if err != nil {
		return state{}, fmt.Errorf("look at users: %w", err)
	}
	of, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return state{}, errNoFile // reading a fifo could take for ever
	}
	return state{dev: of.Dev, inode: of.Ino, size: info.Size(), changed: of.Ctim}, nil
}
