// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
)

// manifestFile says what was installed. It holds copies of the files as they
// were, which may have secrets in them: it is root's alone.
const manifestFile = "/var/lib/boltseal/install/manifest.json"

// manifestVersion is that of the file's format.
const manifestVersion = 1

// manifest is what was installed, or was about to be.
type manifest struct {
	Version int      `json:"version"`
	Files   []*entry `json:"files"`
	// Dirs is the directories that were made, the outermost first.
	Dirs []string `json:"dirs,omitempty"`
	// Settings is what each runtime was registered with.
	Settings map[string]Settings `json:"settings"`
}

// entry is one file or link.
type entry struct {
	Path     string   `json:"path"`
	Runtimes []string `json:"runtimes"`
	// Format is that of a file that was there and in which keys were written; empty
	// for a file that is ours.
	Format format `json:"format,omitempty"`
	Edits  []edit `json:"edits,omitempty"`
	// Before is nil when there was nothing.
	Before *copied `json:"before"`
	After  sum     `json:"after"`
}

// copied is a file as it was.
type copied struct {
	Data []byte      `json:"data,omitempty"`
	Link string      `json:"link,omitempty"`
	Mode fs.FileMode `json:"mode"`
	UID  int         `json:"uid"`
	GID  int         `json:"gid"`
}

// sum is how a file is known again.
type sum struct {
	SHA256 string `json:"sha256,omitempty"`
	Link   string `json:"link,omitempty"`
}

func sumOf(s *state) sum {
	if s.link != "" {
		return sum{Link: s.link}
	}
	hash := sha256.Sum256(s.data)
	return sum{SHA256: hex.EncodeToString(hash[:])}
}

func copyOf(s *state) *copied {
	if s == nil {
		return nil
	}
	return &copied{Data: s.data, Link: s.link, Mode: s.mode, UID: s.uid, GID: s.gid}
}

func (c *copied) state() *state {
	if c == nil {
		return nil
	}
	return &state{data: c.Data, link: c.Link, mode: c.Mode, uid: c.UID, gid: c.GID}
}

func readManifest(d *disk) (*manifest, error) {
	m := &manifest{Version: manifestVersion, Settings: map[string]Settings{}}
	s, err := d.read(manifestFile)
	if err != nil || s == nil {
		return m, err
	}
	return m, m.decode(s.data)
}

func (m *manifest) decode(text []byte) error {
	if err := json.Unmarshal(text, m); err != nil {
		return fmt.Errorf("%s: %w", manifestFile, err)
	}
	if m.Version != manifestVersion {
		return fmt.Errorf("%s: version %d is not known here: use the boltseal that wrote it", manifestFile, m.Version)
	}
	if m.Settings == nil {
		m.Settings = map[string]Settings{}
	}
	for i, e := range m.Files {
		if e == nil || e.Path == "" || e.Path[0] != '/' || !e.Format.known() {
			return fmt.Errorf("%s: files[%d]: is not what boltseal writes", manifestFile, i)
		}
		for j, one := range e.Edits {
			if len(one.Path) == 0 || !json.Valid(one.Value) {
				return fmt.Errorf("%s: files[%d].edits[%d]: is not what boltseal writes", manifestFile, i, j)
			}
		}
	}
	return nil
}

// state is the manifest as a file; nil when there is nothing to note.
func (m *manifest) state(d *disk) (*state, error) {
	if len(m.Files) == 0 {
		return nil, nil
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", manifestFile, err)
	}
	return d.own(append(bytes.TrimSpace(text), '\n'), 0o600), nil
}

// has tells whether there is something of a runtime's to take back.
func (m *manifest) has(runtime string) bool {
	_, registered := m.Settings[runtime]
	return registered || slices.ContainsFunc(m.Files, func(e *entry) bool { return slices.Contains(e.Runtimes, runtime) })
}

// wrappers are the paths under which the hook stands for low-level runtimes.
func (m *manifest) wrappers() []string {
	var names []string
	for _, e := range m.Files {
		if e.After.Link == hookName {
			names = append(names, e.Path)
		}
	}
	return names
}

func (m *manifest) entry(name string) *entry {
	for _, e := range m.Files {
		if e.Path == name {
			return e
		}
	}
	return nil
}

// clone is a copy whose lists can be changed.
func (m *manifest) clone() *manifest {
	c := &manifest{Version: m.Version, Dirs: slices.Clone(m.Dirs), Settings: map[string]Settings{}}
	for name, s := range m.Settings {
		c.Settings[name] = s
	}
	for _, e := range m.Files {
		one := *e
		one.Runtimes, one.Edits = slices.Clone(e.Runtimes), slices.Clone(e.Edits)
		c.Files = append(c.Files, &one)
	}
	return c
}
