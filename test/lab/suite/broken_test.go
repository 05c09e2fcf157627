// SPDX-License-Identifier: Apache-2.0

//go:build linux && lab

package suite

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/test/lab"
)

// mutation is a change to the sources that breaks a promise.
type mutation struct {
	file, old, new string
}

// flag returns the flag that makes go build see the change, and nobody else.
func (m mutation) flag(t *testing.T) string {
	t.Helper()
	root, err := lab.ModuleRoot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, m.file)
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%s has %q %d times: this test must change with it", m.file, m.old, n)
	}
	dir := t.TempDir()
	changed := filepath.Join(dir, filepath.Base(m.file))
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		changed:                            []byte(strings.Replace(string(source), m.old, m.new, 1)),
		filepath.Join(dir, "overlay.json"): overlay,
	} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return "-overlay=" + filepath.Join(dir, "overlay.json")
}

// TestBrokenOnPurpose breaks what the table rests on, one thing at a time: the
// column is red, says why, and is done in time.
func TestBrokenOnPurpose(t *testing.T) {
	mechanism := []Part{{Package: "agent/internal/kernel/mechanism", Run: "^TestLSMDeny$"}}
	for _, test := range []struct {
		name, kernel, lsm string
		parts             []Part
		mutation          *mutation
		says              []string
	}{
		{
			name: "no lsm= parameter", kernel: "5.10", lsm: "",
			parts: []Part{{Package: "agent/internal/kernel", Run: "^TestProbesMatchTruth$"}},
			says:  []string{"TestProbesMatchTruth", "lsm"},
		},
		{
			name: "another cgroup in the canary's map", kernel: "6.1", lsm: lab.LSMWithBPF, parts: mechanism,
			mutation: &mutation{"agent/internal/kernel/mechanism/program_test.go", "s.Put(cgroup, uint32(1))", "s.Put(cgroup+1, uint32(1))"},
			says:     []string{"TestLSMDeny", "is not in the map of selected cgroups"},
		},
		{
			name: "another cgroup in the product's map", kernel: "6.1", lsm: lab.LSMWithBPF,
			parts: []Part{{Package: "agent/internal/seal", Run: "^TestConfirmAdopts$"}},
			mutation: &mutation{
				"agent/internal/seal/confirm.go", "Maps[bpf.CgroupMapSeals].Update(c.Cgroup, seal", "Maps[bpf.CgroupMapSeals].Update(c.Cgroup+1<<40, seal",
			},
			says: []string{"TestConfirmAdopts", "seal read back differs"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			kernel, err := lab.KernelByName(test.kernel)
			if err != nil {
				t.Fatal(err)
			}
			var flags []string
			if test.mutation != nil {
				flags = append(flags, test.mutation.flag(t))
			}
			c := Column{Name: test.kernel, Kernel: kernel, LSM: test.lsm, Parts: test.parts}
			begin := time.Now()
			text, ok := runColumn(t, c, flags...)
			if took := time.Since(begin); took > 5*time.Minute {
				t.Errorf("took %v", took)
			}
			if ok {
				t.Errorf("all is well:\n%s", text)
			}
			for _, words := range test.says {
				if !strings.Contains(text, words) {
					t.Errorf("%q is not in:\n%s", words, text)
				}
			}
		})
	}
}

// runColumn builds and runs one column and returns what is said of it.
func runColumn(t *testing.T, c Column, flags ...string) (text string, ok bool) {
	t.Helper()
	var out bytes.Buffer
	l, err := lab.Open(t.Context(), &out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	dir := t.TempDir()
	if err := build(t.Context(), dir, []Column{c}, flags...); err != nil {
		t.Fatal(err)
	}
	disk, err := l.Pack(t.Context(), lab.File{Host: dir, Guest: "."})
	if err != nil {
		t.Fatal(err)
	}
	o := guest(t.Context(), l, disk, c, &out)
	ok = report(&out, nil, []*Outcome{o}, o.Time)
	t.Log(out.String())
	return out.String(), ok
}
