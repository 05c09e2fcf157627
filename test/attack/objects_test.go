// SPDX-License-Identifier: Apache-2.0

//go:build linux

package attack

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// objects is what a process holds of the kernel's BPF objects: maps, programs
// and links by their ids, each id with a 0 that the ids are keys of.
type objects struct {
	maps     map[ebpf.MapID]int
	programs map[ebpf.ProgramID]int
	links    map[link.ID]int
}

func (o objects) String() string {
	return fmt.Sprintf("%d maps, %d programs, %d links", len(o.maps), len(o.programs), len(o.links))
}

// objectsOf reads what the descriptors of a process are.
func objectsOf(t *testing.T, pid int) objects {
	t.Helper()
	found := objects{maps: map[ebpf.MapID]int{}, programs: map[ebpf.ProgramID]int{}, links: map[link.ID]int{}}
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil || len(infos) == 0 {
		t.Fatalf("descriptors of %d: %v", pid, err)
	}
	for _, info := range infos {
		text, err := os.ReadFile(info)
		if errors.Is(err, fs.ErrNotExist) {
			continue // closed meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var id uint32
			switch {
			case scanned(line, "map_id:\t%d", &id):
				found.maps[ebpf.MapID(id)] = 0
			case scanned(line, "link_id:\t%d", &id):
				found.links[link.ID(id)] = 0
			case scanned(line, "prog_id:\t%d", &id):
				found.programs[ebpf.ProgramID(id)] = 0
			}
		}
	}
	return found
}

func scanned(line, format string, id *uint32) bool {
	n, err := fmt.Sscanf(line, format, id)
	return n == 1 && err == nil
}

// gone returns an error that names the objects which the kernel still has.
func (o objects) gone() error {
	var left []string
	for id := range o.maps {
		if m, err := ebpf.NewMapFromID(id); err == nil {
			left = append(left, m.String())
			m.Close()
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for id := range o.programs {
		if p, err := ebpf.NewProgramFromID(id); err == nil {
			left = append(left, p.String())
			p.Close()
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for id := range o.links {
		if l, err := link.NewFromID(id); err == nil {
			left = append(left, fmt.Sprintf("link %d", id))
			l.Close()
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("the kernel still has %s", strings.Join(left, ", "))
	}
	return nil
}

// elements counts what is in the hash maps that hold policies, by their names.
// Those of containers are left out: others start some at any time.
func (o objects) elements(t *testing.T) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for id := range o.maps {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			t.Fatal(err)
		}
		info, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		if m.Type() == ebpf.Hash && slices.Contains([]string{"set_rules", "match_values", "cidr"}, info.Name) {
			var key, value []byte
			all := m.Iterate()
			for all.Next(&key, &value) {
				counts[info.Name]++
			}
			if all.Err() != nil {
				t.Fatal(all.Err())
			}
		}
		m.Close()
	}
	return counts
}

// sameObjects returns an error if b has more or less than a.
func sameObjects(a, b objects) error {
	if maps.Equal(a.maps, b.maps) && maps.Equal(a.programs, b.programs) && maps.Equal(a.links, b.links) {
		return nil
	}
	return fmt.Errorf("the agent held %s before, and holds %s; they need to be the same ones", a, b)
}
