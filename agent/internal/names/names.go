// SPDX-License-Identifier: Apache-2.0

package names

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/boltseal/boltseal/agent/internal/container"
)

var (
	// ErrNone says that no record is kept of a container: its engine keeps none, or
	// it is not known where.
	ErrNone = errors.New("no engine keeps a record of it")
	// ErrUnread says that there has to be a record of a container, which could not be
	// read.
	ErrUnread = errors.New("record of the container's engine")
)

// Names is what an engine's record tells of a container.
type Names struct {
	// Engine is whose record it is: docker or podman.
	Engine string
	// Name is what people call it; never empty.
	Name string
	// Image is the reference that it was made from, possibly empty.
	Image string
	// Labels are its own labels; nil when the record has none for any container.
	Labels map[string]string
	// InitPID is the host's pid of its first process; 0: not told, or not running.
	InitPID int
}

// The engines with records, as they stand in a container's Runtime.
const (
	docker = "docker"
	podman = "podman"
)

// patience is how long a record may take to be read: half of what a hook waits for its
// answer by default. A busy disk took more than half a second.
const patience = time.Second

// maxReads is how many records may be read at once. Reads that hang keep their place.
const maxReads = 16

// Finder finds records. It is safe for concurrent use.
type Finder struct {
	// root is where the host's files are: "/".
	root     string
	patience time.Duration
	reads    chan struct{}
	stores   stores
}

// New is a finder of the host's records.
func New() *Finder { return at("/") }

func at(root string) *Finder {
	return &Finder{root: root, patience: patience, reads: make(chan struct{}, maxReads)}
}

// Find reads what the engine's record tells of a container. The error is ErrNone, or
// wraps ErrUnread.
func (f *Finder) Find(c *container.Container) (Names, error) {
	n, _, err := f.look(c)
	return n, err
}

// look is Find with the file that the record is in, which is empty on ErrNone.
func (f *Finder) look(c *container.Container) (Names, string, error) {
	type result struct {
		names Names
		file  string
		err   error
	}
	timeout := time.NewTimer(f.patience)
	defer timeout.Stop()
	select {
	case f.reads <- struct{}{}:
	case <-timeout.C:
		return Names{}, "", fmt.Errorf("%w: %d others have been read for more than %v", ErrUnread, maxReads, f.patience)
	}
	found := make(chan result, 1)
	go func() {
		defer func() { <-f.reads }()
		n, file, err := f.read(c)
		found <- result{n, file, err}
	}()
	select {
	case r := <-found:
		return r.names, r.file, r.err
	case <-timeout.C:
		return Names{}, "", fmt.Errorf("%w: has been read for more than %v", ErrUnread, f.patience)
	}
}

func (f *Finder) read(c *container.Container) (Names, string, error) {
	if !isID(c.ID) {
		return Names{}, "", ErrNone // no engine's, and might lead elsewhere
	}
	switch {
	case c.Runtime == docker:
		n, file, err := f.docker(c)
		if errors.Is(err, ErrNone) {
			err = fmt.Errorf("%w: there is none in containers/%s of Docker's data root", ErrUnread, c.ID)
		}
		return n, file, err
	case c.Runtime == podman:
		return f.podman(c)
	case c.Guess:
		return f.docker(c)
	}
	return Names{}, "", ErrNone
}

// docker reads a container's record in the first data root that has one.
func (f *Finder) docker(c *container.Container) (Names, string, error) {
	for _, root := range f.dataRoots(c.RootDir) {
		file := filepath.Join(root, "containers", c.ID, dockerFile)
		text, err := readRecord(file, maxDockerFile)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return Names{}, file, fmt.Errorf("%w: %w", ErrUnread, err)
		}
		n, err := parseDocker(text, c.ID)
		if err != nil {
			return Names{}, file, fmt.Errorf("%w: %s: %w", ErrUnread, file, err)
		}
		return n, file, nil
	}
	return Names{}, "", ErrNone
}

// rootDepth is how far below the data root a root directory can be:
// overlay2/<layer>/merged, or rootfs/<snapshotter>/<id>.
const rootDepth = 3

// dataRoots is where Docker may keep its data, the likeliest first. One that a
// container's root directory is below is likelier than those of the host's Docker:
// there may be several.
func (f *Finder) dataRoots(rootDir string) []string {
	var roots []string
	if filepath.IsAbs(rootDir) {
		above := filepath.Clean(rootDir)
		for range rootDepth {
			above = filepath.Dir(above)
			roots = append(roots, filepath.Join(f.root, above))
		}
	}
	if text, err := readRecord(filepath.Join(f.root, "etc/docker/daemon.json"), maxDockerFile); err == nil {
		if root := parseDaemon(text); filepath.IsAbs(root) {
			roots = append(roots, filepath.Join(f.root, root))
		}
	}
	return append(roots, filepath.Join(f.root, "var/lib/docker"))
}

// podman reads a container's record in the storage that its bundle is in:
// <graph root>/<driver>-containers/<id>/userdata.
func (f *Finder) podman(c *container.Container) (Names, string, error) {
	own := filepath.Dir(filepath.Clean(c.Bundle))
	dir := filepath.Dir(own)
	if !filepath.IsAbs(c.Bundle) || filepath.Base(own) != c.ID || !strings.HasSuffix(dir, "-containers") {
		return Names{}, "", ErrNone
	}
	dir = filepath.Join(f.root, dir)
	for _, name := range []string{volatileFile, storageFile} {
		n, ok, err := f.stores.find(filepath.Join(dir, name), c.ID)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return Names{}, filepath.Join(dir, name), fmt.Errorf("%w: %w", ErrUnread, err)
		case ok:
			return n, filepath.Join(dir, name), nil
		}
	}
	return Names{}, "", ErrNone
}

// isID tells whether text is an id as engines with records draw them.
func isID(text string) bool {
	const digits = 64
	return len(text) == digits && strings.Trim(text, "0123456789abcdef") == ""
}
