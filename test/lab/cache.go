// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// CacheVariable names the directory of the cache; boltseal/lab in the user's
// cache directory if it is not set.
const CacheVariable = "BOLTSEAL_LAB_CACHE"

// Cache keeps what takes long to make: packages' lists, kernels, file systems.
// Several processes may use one directory at the same time.
type Cache struct {
	// Dir is where everything is.
	Dir string
	// Log is told what is made, how large it is and where.
	Log io.Writer
}

// OpenCache returns the cache of this user.
func OpenCache(log io.Writer) (*Cache, error) {
	dir := os.Getenv(CacheVariable)
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find the cache directory: %w: set %s", err, CacheVariable)
		}
		dir = filepath.Join(user, "boltseal", "lab")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the cache directory: %w", err)
	}
	return &Cache{Dir: dir, Log: log}, nil
}

// recipeKey tells things apart that are made in different ways: what is in the
// cache is as good as new as long as its recipe is the same.
func recipeKey(recipe ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(recipe, "\x00")))
	return hex.EncodeToString(sum[:6])
}

// entry returns the directory of a thing, which build fills if it is not there
// yet. A build that fails or is interrupted leaves nothing that looks whole.
func (c *Cache) entry(name, key string, build func(dir string) error) (string, error) {
	dir := filepath.Join(c.Dir, name+"-"+key)
	unlock, err := c.lock(name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", err
	}
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return "", err
	}
	defer os.RemoveAll(partial)
	if err := build(partial); err != nil {
		return "", fmt.Errorf("make %s: %w", name, err)
	}
	size, err := treeSize(partial)
	if err != nil {
		return "", err
	}
	if err := os.Rename(partial, dir); err != nil {
		return "", err
	}
	fmt.Fprintf(c.Log, "lab: made %s: %d MB in %s\n", name, size>>20, dir)
	return dir, nil
}

// lock keeps other processes from making the same thing.
func (c *Cache) lock(name string) (unlock func(), err error) {
	path := filepath.Join(c.Dir, name+".lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// treeSize returns how many bytes of the disk a directory takes.
func treeSize(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			sum += stat.Blocks * 512
		}
		return nil
	})
	return sum, err
}
