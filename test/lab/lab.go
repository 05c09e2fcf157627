// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cavaliergopher/cpio"
)

// Lab makes machines. Its methods may be called at the same time.
type Lab struct {
	cache *Cache
	log   io.Writer
	dir   string
	init  string // an archive with the guest's process 1
}

// ErrMissing is the error of a host that lacks what the lab needs.
var ErrMissing = errors.New("the lab cannot run on this machine")

// Open checks that this host can run the lab, and readies it. What happens is
// told to log. Close must be called at the end.
func Open(ctx context.Context, log io.Writer) (*Lab, error) {
	if err := hostNeeds(); err != nil {
		return nil, err
	}
	cache, err := OpenCache(log)
	if err != nil {
		return nil, err
	}
	// Short: the paths of the sockets in it have 108 bytes at most.
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		return nil, err
	}
	l := &Lab{cache: cache, log: log, dir: dir, init: filepath.Join(dir, "init.cpio")}
	if err := l.buildInit(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Close removes what the lab has made, but for the cache.
func (l *Lab) Close() error { return os.RemoveAll(l.dir) }

// Fetch makes everything that machines of a kernel need, so that they boot at
// once afterwards, also without network.
func (l *Lab) Fetch(ctx context.Context, k Kernel) error {
	if _, err := l.cache.kernel(ctx, k); err != nil {
		return fmt.Errorf("kernel %s: %w", k.Name, err)
	}
	if _, err := l.cache.root(ctx); err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	return nil
}

// Room returns the root file system of a room, which is made if it is not there yet.
func (l *Lab) Room(ctx context.Context, suite string) (string, error) {
	root, err := l.cache.Room(ctx, suite)
	if err != nil {
		return "", fmt.Errorf("room of %s: %w", suite, err)
	}
	return root, nil
}

// hostNeeds says everything at once that this host lacks.
func hostNeeds() error {
	var missing []string
	if runtime.GOARCH != "amd64" {
		missing = append(missing, "a processor of the x86-64 kind: its kernels and packages are those of amd64")
	}
	if os.Geteuid() != 0 {
		missing = append(missing, "root: files of the guest belong to it")
	}
	for _, need := range []struct{ command, debian string }{
		{"qemu-system-x86_64", "qemu-system-x86"}, {"mke2fs", "e2fsprogs"}, {"xz", "xz-utils"}, {"dpkg-deb", "dpkg"}, {"apt-get", "apt"},
	} {
		if _, err := exec.LookPath(need.command); err != nil {
			missing = append(missing, fmt.Sprintf("the command %s (Debian package %s)", need.command, need.debian))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: it lacks\n  %s", ErrMissing, strings.Join(missing, "\n  "))
	}
	return nil
}

// buildInit builds the guest's first program, from the sources as they are.
func (l *Lab) buildInit(ctx context.Context) error {
	binary := filepath.Join(l.dir, "init")
	if err := Build(ctx, binary, "./test/lab/guest"); err != nil {
		return err
	}
	code, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	f, err := os.Create(l.init)
	if err != nil {
		return err
	}
	archive := cpio.NewWriter(f)
	return errors.Join(addFile(archive, "init", 0o755, code), archive.Close(), f.Close())
}

// Build builds a program of this module for guests. The package is a path below
// the module's root; with .test in the binary's name, it is the package's tests.
// Flags are passed on to go build.
func Build(ctx context.Context, binary, pkg string, flags ...string) error {
	root, err := ModuleRoot(ctx)
	if err != nil {
		return err
	}
	args := []string{"build", "-ldflags=-s -w"}
	if strings.HasSuffix(binary, ".test") {
		args = []string{"test", "-c"}
	}
	args = append(args, "-buildvcs=false", "-trimpath", "-o", binary)
	cmd := exec.CommandContext(ctx, "go", append(append(args, flags...), pkg)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// ModuleRoot returns the directory of the project's go.mod.
func ModuleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find go.mod: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if filepath.Base(mod) != "go.mod" {
		return "", errors.New("find go.mod: the lab is not run inside the module")
	}
	return filepath.Dir(mod), nil
}
