// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotCgroup is returned for a path that leads to something that is not a
// directory of the unified hierarchy.
var ErrNotCgroup = errors.New("not a cgroup of the unified hierarchy")

// fileidKernfs is the type of the file handles that cgroup2 gives out.
const fileidKernfs = 0xfe

// ID is the id of the cgroup at p, a path below the root such as "/a/b". A
// cgroup that is not there is fs.ErrNotExist, anything but a cgroup directory
// is ErrNotCgroup; "..", NUL bytes and relative paths are refused.
func (r Root) ID(p string) (uint64, error) {
	fd, err := r.open(p, unix.O_PATH)
	if err != nil {
		return 0, fmt.Errorf("look up id: %w", err)
	}
	defer unix.Close(fd)
	id, err := idOf(fd)
	if err != nil {
		return 0, fmt.Errorf("look up id of cgroup %q: %w", p, err)
	}
	return id, nil
}

// PathOf is the path of the cgroup with this id. A cgroup that is gone is
// fs.ErrNotExist. Without CAP_DAC_READ_SEARCH all of the hierarchy is walked.
func (r Root) PathOf(id uint64) (string, error) {
	p, err := r.pathByHandle(id)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
		p, err = r.pathByWalk(id)
	}
	if err != nil {
		return "", fmt.Errorf("look up path of cgroup %d: %w", id, err)
	}
	return p, nil
}

func (r Root) pathByHandle(id uint64) (string, error) {
	// The kernel takes no O_PATH descriptor for the mount here.
	mount, err := r.open("/", unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(mount)
	handle := unix.NewFileHandle(fileidKernfs, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(mount, handle, unix.O_PATH)
	if errors.Is(err, unix.ESTALE) {
		return "", fs.ErrNotExist
	}
	if err != nil {
		return "", fmt.Errorf("open by handle: %w", err)
	}
	defer unix.Close(fd)
	full, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", fmt.Errorf("read path of handle: %w", err)
	}
	p, ok := strings.CutPrefix(full, r.path)
	if !ok || (p != "" && p[0] != '/') {
		return "", fmt.Errorf("handle leads to %q, outside of %q", full, r.path)
	}
	p = path.Join("/", p)
	// The link is text: " (deleted)" may be a part of a name or a remark. And
	// files of a cgroup have handles, too.
	if got, err := r.ID(p); err != nil || got != id {
		return "", fs.ErrNotExist
	}
	return p, nil
}

func (r Root) pathByWalk(id uint64) (string, error) {
	if id == rootID {
		return "/", nil
	}
	found := ""
	err := r.Walk(func(p string, got uint64) error {
		if got != id {
			return nil
		}
		found = p
		return fs.SkipAll
	})
	if found != "" {
		return found, nil
	}
	if err != nil {
		return "", err
	}
	return "", fs.ErrNotExist
}

// open opens the directory at p below the root, or a file in it.
func (r Root) open(p string, flags int) (int, error) {
	if r.path == "" {
		return -1, errors.New("use of the zero cgroup.Root")
	}
	if err := checkPath(p); err != nil {
		return -1, err
	}
	root, err := unix.Open(r.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open cgroup root", Path: r.path, Err: err}
	}
	defer unix.Close(root)
	fd, err := openBeneath(root, strings.Trim(path.Clean(p), "/"), flags)
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EXDEV):
		err = fmt.Errorf("%w: %w", ErrNotCgroup, err)
	case err == nil:
		return fd, nil
	}
	return -1, &fs.PathError{Op: "open cgroup", Path: p, Err: err}
}

// checkPath refuses what cannot be a path of a cgroup, before the kernel
// interprets it.
func checkPath(p string) error {
	switch {
	case !strings.HasPrefix(p, "/"):
		return fmt.Errorf("cgroup path %q is not absolute", p)
	case strings.IndexByte(p, 0) >= 0:
		return fmt.Errorf("cgroup path %q holds a NUL byte", p)
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return fmt.Errorf("cgroup path %q goes upwards", p)
		}
	}
	return nil
}

// openBeneath opens the relative path rel without leaving the directory dir,
// following links, or crossing into another mount.
func openBeneath(dir int, rel string, flags int) (int, error) {
	if rel == "" {
		rel = "."
	}
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	for range 16 {
		fd, err := unix.Openat2(dir, rel, &how)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue // a rename somewhere raced with the look-up
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
			// No openat2, or a seccomp filter that does not know it.
			return openByParts(dir, rel, flags)
		}
		return fd, err
	}
	return -1, unix.EAGAIN
}

// openByParts is openBeneath one component at a time.
func openByParts(dir int, rel string, flags int) (int, error) {
	parts := strings.Split(rel, "/")
	at := dir
	for i, part := range parts {
		if part == ".." {
			return -1, unix.EXDEV
		}
		how := unix.O_PATH | unix.O_DIRECTORY
		if i == len(parts)-1 {
			how = flags
		}
		fd, err := unix.Openat(at, part, how|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if at != dir {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at = fd
	}
	return at, nil
}

// idOf is the id of the cgroup that fd was opened on.
func idOf(fd int) (uint64, error) {
	var sfs unix.Statfs_t
	if err := unix.Fstatfs(fd, &sfs); err != nil {
		return 0, fmt.Errorf("stat file system: %w", err)
	}
	if sfs.Type != unix.CGROUP2_SUPER_MAGIC {
		return 0, ErrNotCgroup
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("stat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, ErrNotCgroup
	}
	id, ok, err := handleID(fd)
	switch {
	case err != nil:
		return 0, err
	case !ok:
		// The inode number is the id where it has 64 bits.
		return st.Ino, nil
	case strconv.IntSize == 64 && id != st.Ino:
		return 0, fmt.Errorf("file handle says id %d, inode says %d", id, st.Ino)
	}
	return id, nil
}

// handleID is the id in the file handle of a cgroup directory. It is not ok
// where no handle is given out: seccomp filters of container runtimes refuse it.
func handleID(fd int) (id uint64, ok bool, err error) {
	handle, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("get file handle: %w", err)
	}
	raw := handle.Bytes()
	if handle.Type() != fileidKernfs || len(raw) != 8 {
		return 0, false, fmt.Errorf("unexpected file handle of type %#x with %d bytes", handle.Type(), len(raw))
	}
	return binary.NativeEndian.Uint64(raw), true, nil
}
