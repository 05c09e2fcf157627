// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// KernelVariable names a ready image of the kernel with error injection.
const KernelVariable = "BOLTSEAL_LAB_KERNEL"

// injectSource is the package with the sources of the kernel with error
// injection, and injectSuite the Debian release that has it.
const (
	injectSuite  = "trixie"
	injectSource = "linux-source-6.12"
)

//go:embed kernel.config
var injectConfig string

// ErrNotBuilt is the error of a kernel that is not in the cache and takes long to
// build, so that nobody does it unasked.
var ErrNotBuilt = errors.New("it is not built yet: make lab-kernel does that, in about 20 minutes of two processors, or set " + KernelVariable + " to a ready image")

// injectKernel returns the image of the kernel with error injection: the one
// that the environment names, or the one in the cache.
func (c *Cache) injectKernel() (string, error) {
	if image := os.Getenv(KernelVariable); image != "" {
		if _, err := os.Stat(image); err != nil {
			return "", fmt.Errorf("%s: %w", KernelVariable, err)
		}
		return image, nil
	}
	image := filepath.Join(c.Dir, c.injectName()+"-"+injectKey(), "bzImage")
	if _, err := os.Stat(image); errors.Is(err, fs.ErrNotExist) {
		return "", ErrNotBuilt
	}
	return image, nil
}

func (c *Cache) injectName() string { return "kernel-6.12-inject" }

func injectKey() string { return recipeKey(injectSuite, injectSource, injectConfig) }

// BuildKernel builds the kernel with error injection from Debian's sources, if
// the cache does not have it, and returns its image.
func (c *Cache) BuildKernel(ctx context.Context) (string, error) {
	if err := buildNeeds(); err != nil {
		return "", err
	}
	dir, err := c.entry(c.injectName(), injectKey(), func(dir string) error { return c.buildKernel(ctx, dir) })
	return filepath.Join(dir, "bzImage"), err
}

// buildNeeds says everything at once that this host lacks to build a kernel.
func buildNeeds() error {
	var missing []string
	for _, need := range []struct{ command, debian string }{
		{"gcc", "gcc"}, {"make", "make"}, {"flex", "flex"}, {"bison", "bison"}, {"bc", "bc"}, {"pahole", "pahole"}, {"xz", "xz-utils"},
		{"lz4", "lz4"}, {"apt-get", "apt"}, {"dpkg-deb", "dpkg"},
	} {
		if _, err := exec.LookPath(need.command); err != nil {
			missing = append(missing, fmt.Sprintf("the command %s (Debian package %s)", need.command, need.debian))
		}
	}
	for header, debian := range map[string]string{"libelf.h": "libelf-dev", "openssl/ssl.h": "libssl-dev"} {
		if _, err := os.Stat(filepath.Join("/usr/include", header)); err != nil {
			missing = append(missing, fmt.Sprintf("the header %s (Debian package %s)", header, debian))
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fmt.Errorf("a kernel cannot be built here: this machine lacks\n  %s", strings.Join(missing, "\n  "))
	}
	return nil
}

func (c *Cache) buildKernel(ctx context.Context, dir string) error {
	a := c.archive(injectSuite)
	if err := a.update(ctx); err != nil {
		return err
	}
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	debs, err := a.download(ctx, work, injectSource)
	if err != nil {
		return err
	}
	if err := unpack(ctx, work, debs...); err != nil {
		return err
	}
	sources, err := filepath.Glob(filepath.Join(work, "usr/src", injectSource+".tar.xz"))
	if err != nil || len(sources) != 1 {
		return errors.Join(err, fmt.Errorf("the package %s has %d archives of sources", injectSource, len(sources)))
	}
	if err := run(ctx, work, "tar", "--extract", "--xz", "--file", sources[0]); err != nil {
		return err
	}
	tree := filepath.Join(work, injectSource)
	if err := configure(ctx, tree); err != nil {
		return err
	}
	fmt.Fprintf(c.Log, "lab: building %s, which takes a while\n", c.injectName())
	// It may take all night: whoever works on this machine goes first.
	if err := run(ctx, tree, "nice", "-n", "19", "make", "--silent", fmt.Sprintf("--jobs=%d", runtime.NumCPU()), "bzImage"); err != nil {
		return err
	}
	return errors.Join(
		os.Rename(filepath.Join(tree, "arch/x86/boot/bzImage"), filepath.Join(dir, "bzImage")),
		os.Rename(filepath.Join(tree, ".config"), filepath.Join(dir, "config")),
		os.RemoveAll(work),
	)
}

// configure writes the kernel's configuration and checks that it is what was
// asked for: options that depend on others are dropped without a word.
func configure(ctx context.Context, tree string) error {
	wanted := filepath.Join(tree, "lab.config")
	if err := os.WriteFile(wanted, []byte(injectConfig), 0o644); err != nil {
		return err
	}
	if err := run(ctx, tree, "make", "--silent", "KCONFIG_ALLCONFIG="+wanted, "allnoconfig"); err != nil {
		return err
	}
	got, err := os.ReadFile(filepath.Join(tree, ".config"))
	if err != nil {
		return err
	}
	if dropped := droppedOptions(injectConfig, string(got)); len(dropped) > 0 {
		return fmt.Errorf("the kernel's configuration does not have\n  %s", strings.Join(dropped, "\n  "))
	}
	return nil
}

// droppedOptions returns the options of a configuration that another lacks.
func droppedOptions(wanted, got string) []string {
	has := map[string]bool{}
	for line := range strings.Lines(got) {
		has[strings.TrimSpace(line)] = true
	}
	var dropped []string
	for line := range strings.Lines(wanted) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "CONFIG_") && !has[line] {
			dropped = append(dropped, line)
		}
	}
	return dropped
}

// run runs a command, whose words are told if it fails.
func run(ctx context.Context, dir, command string, args ...string) error {
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", command, strings.Join(args, " "), err, tail(string(out), 3000))
	}
	return nil
}
