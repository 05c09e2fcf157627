// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cavaliergopher/cpio"

	"github.com/boltseal/boltseal/test/lab/job"
)

// bootable is a kernel ready to boot.
type bootable struct {
	// image is the kernel; drivers is an archive for its first file system, empty
	// if the kernel has all drivers built in.
	image, drivers string
}

// kernelRecipe changes when kernels are unpacked in another way.
const kernelRecipe = "1"

// kernel returns a kernel from the cache, or fetches it.
func (c *Cache) kernel(ctx context.Context, k Kernel) (bootable, error) {
	if k.Package == "" {
		image, err := c.injectKernel()
		return bootable{image: image}, err
	}
	recipe := append([]string{kernelRecipe, k.Suite, k.Package}, modules()...)
	dir, err := c.entry("kernel-"+k.Name, recipeKey(recipe...), func(dir string) error { return c.fetchKernel(ctx, k, dir) })
	if err != nil {
		return bootable{}, err
	}
	return bootable{image: filepath.Join(dir, "vmlinuz"), drivers: filepath.Join(dir, "drivers.cpio")}, nil
}

func (c *Cache) fetchKernel(ctx context.Context, k Kernel, dir string) error {
	a := c.archive(k.Suite)
	if err := a.update(ctx); err != nil {
		return err
	}
	all, err := a.closure(ctx, k.Package)
	if err != nil {
		return err
	}
	// Newer releases have the modules in a package of their own.
	all = slices.DeleteFunc(all, func(name string) bool {
		return !strings.HasPrefix(name, "linux-") || name == k.Package || name == "linux-base"
	})
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	debs, err := a.download(ctx, work, all...)
	if err != nil {
		return err
	}
	root := filepath.Join(work, "root")
	if err := errors.Join(os.Mkdir(root, 0o755), unpack(ctx, root, debs...)); err != nil {
		return err
	}
	return errors.Join(pickKernel(root, dir), os.RemoveAll(work))
}

// pickKernel takes what booting needs out of unpacked packages.
func pickKernel(root, dir string) error {
	image, err := findOne(root, func(path string) bool { return strings.HasPrefix(filepath.Base(path), "vmlinuz") })
	if err != nil {
		return err
	}
	if err := os.Rename(image, filepath.Join(dir, "vmlinuz")); err != nil {
		return err
	}
	found, err := findModules(root)
	if err != nil {
		return err
	}
	wanted, err := found.withDependencies(modules())
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "drivers.cpio"))
	if err != nil {
		return err
	}
	return errors.Join(writeDrivers(f, wanted), f.Close())
}

// findOne returns the one regular file below dir that is meant.
func findOne(dir string, is func(path string) bool) (string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && is(path) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("want one kernel in the packages, found %q", found)
	}
	return found[0], nil
}

// writeDrivers writes modules and the list by which the guest loads them.
func writeDrivers(w io.Writer, wanted []module) error {
	archive := cpio.NewWriter(w)
	var list strings.Builder
	for i, m := range wanted {
		name := fmt.Sprintf("%02d-%s.ko", i, m.name)
		list.WriteString("/" + name + "\n")
		if err := addFile(archive, name, 0o644, m.code); err != nil {
			return err
		}
	}
	if err := addFile(archive, strings.TrimPrefix(job.ModuleList, "/"), 0o644, []byte(list.String())); err != nil {
		return err
	}
	return archive.Close()
}

func addFile(archive *cpio.Writer, name string, mode fs.FileMode, data []byte) error {
	err := archive.WriteHeader(&cpio.Header{Name: name, Mode: cpio.TypeReg | cpio.FileMode(mode.Perm()), Size: int64(len(data))})
	if err == nil {
		_, err = archive.Write(data)
	}
	if err != nil {
		return fmt.Errorf("pack %s: %w", name, err)
	}
	return nil
}
