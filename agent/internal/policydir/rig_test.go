// SPDX-License-Identifier: Apache-2.0

package policydir

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// inForce is what policies are in force: their values by their keys. It refuses what
// it is told to, and keeps a record of all that it was asked.
type inForce struct {
	mu     sync.Mutex
	values map[string]string
	files  map[string]string
	refuse map[string]error
	asked  []string
}

func (f *inForce) AddFilePolicy(file string, p *policy.Policy, instead string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, "add "+p.Key())
	if err := f.refuse[p.Key()]; err != nil {
		return err
	}
	if _, ok := f.values[instead]; ok {
		f.asked = append(f.asked, "delete "+instead)
		delete(f.values, instead)
	}
	f.values[p.Key()], f.files[p.Key()] = p.Hooks[0].Message, filepath.Base(file)
	return nil
}

func (f *inForce) DeleteFilePolicy(key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, "delete "+key)
	if _, ok := f.values[key]; !ok {
		return errors.New("not found")
	}
	delete(f.values, key)
	return nil
}

// now is what is in force, as "name=value", and what was asked for since the last time.
func (f *inForce) now() (values, asked string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, key := range slices.Sorted(maps.Keys(f.values)) {
		all = append(all, key+"="+f.values[key])
	}
	asked = strings.Join(f.asked, ", ")
	f.asked = nil
	return strings.Join(all, " "), asked
}

// rig is a directory, what is in force of it, and a clock.
type rig struct {
	*testing.T
	*Directory
	force *inForce
	log   *strings.Builder
	clock time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		T: t, force: &inForce{values: map[string]string{}, files: map[string]string{}, refuse: map[string]error{}},
		log: &strings.Builder{}, clock: time.Unix(1000, 0),
	}
	r.Directory = New(t.TempDir(), r.force, slog.New(slog.NewTextHandler(r.log, nil)))
	return r
}

// text is a policy with a name and a value.
func text(name, value string) string {
	return fmt.Sprintf("apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: %s}\nspec:\n"+
		"  tracepoints: [{subsystem: s, event: e, message: %q}]\n", name, "-"+value)
}

func (r *rig) write(name, content string) {
	r.Helper()
	if err := os.WriteFile(filepath.Join(r.path, name), []byte(content), 0o600); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) rename(from, to string) {
	r.Helper()
	if err := os.Rename(filepath.Join(r.path, from), filepath.Join(r.path, to)); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) remove(name string) {
	r.Helper()
	if err := os.Remove(filepath.Join(r.path, name)); err != nil {
		r.Fatal(err)
	}
}

// settles looks until nothing changes and says what is in force then.
func (r *rig) settles(want string) {
	r.Helper()
	for range 3 {
		r.clock = r.clock.Add(r.look(r.clock))
	}
	if got, _ := r.force.now(); got != want {
		r.Errorf("in force: %q, want %q; faults %v", got, want, r.Faults())
	}
}

// faulty says which files have a fault, and with which words.
func (r *rig) faulty(want ...string) {
	r.Helper()
	faults := r.Faults()
	if len(faults) != len(want)/2 {
		r.Errorf("faults %v, want %q", faults, want)
		return
	}
	for i, f := range faults {
		if filepath.Base(f.File) != want[2*i] || !strings.Contains(f.Err.Error(), want[2*i+1]) {
			r.Errorf("fault %v, want %q", f, want[2*i:2*i+2])
		}
	}
}
