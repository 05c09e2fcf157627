// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoEvent is returned for a trace event that this kernel does not have.
var ErrNoEvent = errors.New("no such trace event")

// ErrNoTracefs is returned when the kernel's list of trace events cannot be
// reached.
var ErrNoTracefs = errors.New("tracefs cannot be opened")

// maxFormat bounds what is read of a format file; the longest known has 20 kB.
const maxFormat = 1 << 20

// Tracefs is the kernel's tracefs, read-only. It may be used concurrently.
type Tracefs struct {
	root  *os.File
	where string
}

// OpenTracefs opens tracefs without mounting it anywhere: a detached mount of
// its own, which nobody else sees and which ends with Close (Linux 5.2,
// CAP_SYS_ADMIN). Where that is refused a mount that exists is taken. When
// there is none either the error is ErrNoTracefs with each attempt's cause.
func OpenTracefs() (*Tracefs, error) {
	root, err := detachedMount("tracefs", unix.TRACEFS_MAGIC)
	if err == nil {
		return &Tracefs{root: root, where: "detached mount"}, nil
	}
	causes := []error{ErrNoTracefs, err}
	for _, dir := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		root, err := openMount(dir, unix.TRACEFS_MAGIC)
		if err == nil {
			return &Tracefs{root: root, where: dir}, nil
		}
		causes = append(causes, err)
	}
	return nil, errors.Join(causes...)
}

// Close ends the use of tracefs, and the detached mount with it.
func (t *Tracefs) Close() error { return t.root.Close() }

// Where says how tracefs was reached, for people: "detached mount", or a
// directory.
func (t *Tracefs) Where() string { return t.where }

// Exists tells whether the kernel has the event. An error says that it could
// not be told. A name that no event can have does not exist.
func (t *Tracefs) Exists(group, event string) (bool, error) {
	_, err := t.read(group, event, "id")
	if errors.Is(err, ErrNoEvent) {
		return false, nil
	}
	return err == nil, err
}

// Format describes an event's records. An event that the kernel does not have,
// and a name that no event can have, is ErrNoEvent.
func (t *Tracefs) Format(group, event string) (Format, error) {
	text, err := t.read(group, event, "format")
	if err != nil {
		return Format{}, err
	}
	f, err := ParseFormat(text)
	if err != nil {
		return Format{}, fmt.Errorf("event %s/%s: %w", group, event, err)
	}
	return f, nil
}

func (t *Tracefs) read(group, event, file string) (string, error) {
	if !isEventName(group) || !isEventName(event) {
		return "", fmt.Errorf("event %q/%q: %w", group, event, ErrNoEvent)
	}
	name := path.Join("events", group, event, file)
	fd, err := unix.Openat(int(t.root.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENOENT) {
		return "", fmt.Errorf("event %s/%s: %w", group, event, ErrNoEvent)
	}
	if err != nil {
		return "", &fs.PathError{Op: "open tracefs", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFormat))
	if err != nil {
		return "", fmt.Errorf("read tracefs: %w", err)
	}
	return string(text), nil
}

// isEventName tells whether s can name a group or an event: C identifiers,
// which lead nowhere but to a directory of that name.
func isEventName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"
	return s != "" && len(s) <= 255 && strings.Trim(s, letters) == ""
}

// detachedMount mounts a kernel file system, attached to no directory.
func detachedMount(fstype string, magic int64) (*os.File, error) {
	ctx, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("fsopen %s: %w", fstype, err)
	}
	defer unix.Close(ctx)
	if err := unix.FsconfigCreate(ctx); err != nil {
		return nil, fmt.Errorf("create %s: %w", fstype, err)
	}
	const attributes = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	mount, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return nil, fmt.Errorf("fsmount %s: %w", fstype, err)
	}
	return checkedMount(mount, fstype, magic)
}

// openMount opens a kernel file system where it is mounted.
func openMount(dir string, magic int64) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return checkedMount(fd, dir, magic)
}

// checkedMount takes fd over. An empty directory where nothing is mounted must
// not look like a kernel without events.
func checkedMount(fd int, name string, magic int64) (*os.File, error) {
	f := os.NewFile(uintptr(fd), name)
	var sfs unix.Statfs_t
	if err := unix.Fstatfs(fd, &sfs); err != nil {
		return nil, errors.Join(fmt.Errorf("stat %s: %w", name, err), f.Close())
	}
	if sfs.Type != magic {
		return nil, errors.Join(fmt.Errorf("%s: the file system is not mounted there", name), f.Close())
	}
	return f, nil
}
