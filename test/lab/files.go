// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/boltseal/boltseal/test/lab/job"
)

// File is a file or directory of the host that guests shall have.
type File struct {
	// Host is its path here; Guest is where it is in the guest, below job.InDir.
	Host, Guest string
}

// Pack makes a disk with files; any number of machines may have it at once. A
// directory is packed with all that is in it.
func (l *Lab) Pack(ctx context.Context, files ...File) (disk string, err error) {
	dir, err := os.MkdirTemp(l.dir, "files")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	for _, f := range files {
		if !filepath.IsLocal(f.Guest) {
			return "", fmt.Errorf("pack %s: %q is not a path below %s", f.Host, f.Guest, job.InDir)
		}
		if err := copyTree(filepath.Join(dir, f.Guest), f.Host); err != nil {
			return "", fmt.Errorf("pack %s: %w", f.Host, err)
		}
	}
	disk = dir + ".img"
	return disk, makeImage(ctx, dir, disk)
}

// copyTree copies a file with its mode, or a directory.
func copyTree(to, from string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// unpackFiles puts what a guest has left into dir. A guest runs what is tested:
// it must not write anywhere else.
func unpackFiles(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack files of the guest: %w", err)
		}
		if err := unpackOne(root, archive, header); err != nil {
			return fmt.Errorf("unpack file of the guest %q: %w", header.Name, err)
		}
	}
}

func unpackOne(root *os.Root, archive io.Reader, header *tar.Header) error {
	switch header.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(filepath.Clean(header.Name), 0o755)
	case tar.TypeReg:
		out, err := root.OpenFile(header.Name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, archive)
		return errors.Join(err, out.Close())
	default:
		return nil // links and devices mean nothing here
	}
}
