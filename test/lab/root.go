// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// rootSuite is the Debian release of the guests' programs, on every kernel.
const rootSuite = "trixie"

// rootRecipe changes when the root is put together in another way.
const rootRecipe = "2"

// rootPackages are the programs of the guests: container runtimes and what a
// person needs to look around.
func rootPackages() []string {
	return []string{
		"base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep", "gzip", "hostname", "iproute2", "libc-bin", "mount",
		"netbase", "nftables", "procps", "sed", "strace", "tar", "util-linux", "busybox-static", "bpftool", "ca-certificates",
		"runc", "crun", "containerd", "podman", "conmon", "netavark",
	}
}

// root returns the image of the guests' root file system.
func (c *Cache) root(ctx context.Context) (string, error) {
	recipe := append([]string{rootRecipe, rootSuite}, rootPackages()...)
	dir, err := c.entry("root-"+rootSuite, recipeKey(recipe...), func(dir string) error { return c.makeRoot(ctx, dir) })
	return filepath.Join(dir, "root.img"), err
}

func (c *Cache) makeRoot(ctx context.Context, dir string) error {
	root := filepath.Join(dir, "root")
	if err := c.unpackRoot(ctx, rootSuite, root, rootPackages()...); err != nil {
		return err
	}
	if err := makeImage(ctx, root, filepath.Join(dir, "root.img")); err != nil {
		return err
	}
	return os.RemoveAll(root)
}

// roomPackages are what a room has besides: the engines that guests are too slow for.
func roomPackages(suite string) []string {
	packages := append(rootPackages(), "docker.io", "iptables", "criu", "golang-github-containers-common", "systemd")
	if suite != "bookworm" { // whose docker.io has the client
		packages = append(packages, "docker-cli")
	}
	return packages
}

// Room returns the directory of a Debian release's root file system with all container
// runtimes that the release has. Nobody may write to it: others use it too.
func (c *Cache) Room(ctx context.Context, suite string) (string, error) {
	packages := roomPackages(suite)
	dir, err := c.entry("room-"+suite, recipeKey(append([]string{rootRecipe, suite}, packages...)...), func(dir string) error {
		return c.unpackRoot(ctx, suite, filepath.Join(dir, "root"), packages...)
	})
	return filepath.Join(dir, "root"), err
}

// unpackRoot fills a directory, which is not there yet, with packages and all that they need.
func (c *Cache) unpackRoot(ctx context.Context, suite, root string, packages ...string) error {
	a := c.archive(suite)
	if err := a.update(ctx); err != nil {
		return err
	}
	all, err := a.closure(ctx, packages...)
	if err != nil {
		return err
	}
	work := root + ".debs"
	if err := errors.Join(os.Mkdir(work, 0o755), os.Mkdir(root, 0o755)); err != nil {
		return err
	}
	debs, err := a.download(ctx, work, all...)
	if err != nil {
		return err
	}
	return errors.Join(mergeUsr(root), unpack(ctx, root, debs...), trim(root), settle(ctx, root), os.RemoveAll(work))
}

// mergeUsr makes the links that base-files' script would have made.
func mergeUsr(root string) error {
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(root, "usr", name), 0o755), os.Symlink("usr/"+name, filepath.Join(root, name))); err != nil {
			return err
		}
	}
	return nil
}

// trim removes what no test reads.
func trim(root string) error {
	var errs []error
	for _, dir := range []string{
		"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/info", "usr/share/i18n", "usr/share/perl",
		"usr/share/perl5", "usr/share/bash-completion", "usr/share/zsh", "usr/lib/udev", "usr/lib/x86_64-linux-gnu/perl",
		"usr/lib/x86_64-linux-gnu/gconv", "var/cache",
	} {
		errs = append(errs, os.RemoveAll(filepath.Join(root, dir)))
	}
	return errors.Join(errs...)
}

// settle does what the packages' scripts would have done.
func settle(ctx context.Context, root string) error {
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "root", "lab", "var/lib", "var/log", "var/tmp", "etc/containers"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for from, to := range map[string]string{"passwd.master": "passwd", "group.master": "group"} {
		data, err := os.ReadFile(filepath.Join(root, "usr/share/base-passwd", from))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(root, "etc", to), data, 0o644); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"hosts": "127.0.0.1 localhost lab\n", "hostname": "lab\n", "resolv.conf": "",
		"containers/policy.json": `{"default":[{"type":"insecureAcceptAnything"}]}` + "\n", // images come from the test itself
	} {
		if err := writeMissing(filepath.Join(root, "etc", name), text); err != nil {
			return err
		}
	}
	links := map[string]string{"etc/mtab": "../proc/self/mounts", "usr/bin/sh": "dash"}
	if _, err := os.Lstat(filepath.Join(root, "usr/sbin/iptables-nft")); err == nil {
		links["usr/sbin/iptables"], links["usr/sbin/ip6tables"] = "iptables-nft", "ip6tables-nft"
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if out, err := exec.CommandContext(ctx, "ldconfig", "-r", root).CombinedOutput(); err != nil {
		return fmt.Errorf("index libraries: %w\n%s", err, out)
	}
	return nil
}

func writeMissing(path, text string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// makeImage makes a file system of a directory, to be mounted read-only.
func makeImage(ctx context.Context, dir, image string) error {
	size, err := treeSize(dir)
	if err != nil {
		return err
	}
	// Files take whole blocks, directories and inodes some more.
	megabytes := size>>20*5/4 + 32
	out, err := exec.CommandContext(ctx, "mke2fs", "-q", "-t", "ext4", "-m", "0", "-O", "^has_journal,^metadata_csum,^64bit",
		"-E", "lazy_itable_init=1,root_owner=0:0", "-d", dir, image, fmt.Sprintf("%dM", megabytes)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("make file system %s: %w\n%s", filepath.Base(image), err, strings.TrimSpace(string(out)))
	}
	return nil
}
