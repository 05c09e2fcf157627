// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// TestInstallDoctorUninstall goes the way of an administrator, with nothing but what
// the commands have by default: afterwards every file of the host is as before.
func TestInstallDoctorUninstall(t *testing.T) {
	release(t)
	eachWay(t, func(t *testing.T, w way) {
		installPrograms(t)
		if err := os.MkdirAll(runDir, 0o755); err != nil {
			t.Fatal(err)
		}
		agent := agentenv.Start(t, testenv.AgentOptions{Dir: runDir})
		if w.plain == nil {
			proven(t, filepath.Join(binDir, "boltseal"), w.engine)
			testenv.Report(t, "%s: nothing to install, proven by doctor", w)
			return
		}
		e := w.plain(t)
		before := snapshot(t)

		program := filepath.Join(binDir, "boltseal")
		said := must(t, append([]string{program, "hook", "install", "--runtime", w.engine}, e.flags()...)...)
		e.reload(t, said)
		if result := run(t, program, "hook", "status", "--runtime", w.engine); result.Code != 0 {
			t.Errorf("status: %s", result)
		}
		installed := changes(before, snapshot(t))
		if len(installed) == 0 {
			t.Errorf("install has changed nothing: %s", said)
		}
		if s, ok := e.(secretive); ok && s.labelless() {
			misses(t, program, w.engine)
		} else {
			proven(t, program, w.engine, e.doctor()...)
		}

		running := &subject{rig: &rig{engine: e, way: w, t: t}, container: container{
			name: agentenv.Mark(), mark: agentenv.Mark(), shared: testenv.Dir(t), args: []string{"/bin/sleep", "1000"},
		}}
		running.id = e.create(t, running.container)
		running.mustStart(t)
		said = must(t, program, "hook", "uninstall", "--runtime", w.engine)
		running.ends(t) // Docker's older releases have to be restarted, which ends it too
		e.reload(t, said)
		must(t, program, "hook", "uninstall", "--runtime", w.engine) // what the container needed
		if left := changes(before, snapshot(t)); len(left) > 0 {
			t.Errorf("not as before: %q", left)
		}
		if err := agent.Stop(); err != nil {
			t.Error(err)
		}
		r := &rig{engine: e, way: w, t: t}
		s := r.telltale(t)
		result := s.start(t, s.id)
		s.admitted(t, result.Code == 0, result.String())
		testenv.Report(t, "%s %s: installed, proven by doctor and uninstalled: %d files changed and as before", w, e.title(), len(installed))
	})
}

// ends holds that a container that runs can be executed in, and then be ended in order.
func (s *subject) ends(t *testing.T) {
	t.Helper()
	if result := s.exec(t, s.id, "/bin/cat", "/etc/hostname"); result.Code != 0 || result.Err != nil {
		t.Errorf("exec: %s", result)
	}
	s.remove(t, s.id)
}

// secretive is an engine of which some releases tell hooks nothing of labels.
type secretive interface{ labelless() bool }

// misses holds that doctor says so.
func misses(t *testing.T, program, runtime string) {
	t.Helper()
	result := run(t, program, "doctor", "--runtime", runtime)
	if result.Code != 1 || !strings.Contains(result.Stdout, "known without its labels and annotations: policies that select by them miss it") {
		t.Errorf("doctor: %s", result)
	}
}

// proven holds that doctor finds nothing wrong, and has seen a container of the runtime
// sealed and killed.
func proven(t *testing.T, program, runtime string, flags ...string) {
	t.Helper()
	result := run(t, append([]string{program, "doctor", "-o", "json", "--runtime", runtime}, flags...)...)
	if result.Code != 0 {
		t.Errorf("doctor: %s", result)
	}
	var report struct {
		Checks []struct{ Check, Verdict, Found string }
	}
	if err := json.Unmarshal([]byte(result.Stdout), &report); err != nil {
		t.Fatalf("doctor: %v: %s", err, result)
	}
	for _, what := range []string{"", " sealed", " kills"} {
		ok := false
		for _, c := range report.Checks {
			ok = ok || c.Check == runtime+what && c.Verdict == "ok"
		}
		if !ok {
			t.Errorf("doctor has not proven %q: %s", runtime+what, result.Stdout)
		}
	}
}

// snapshot is every file of the room's root: kind, mode, owner and content.
func snapshot(t *testing.T) map[string]string {
	t.Helper()
	var root syscall.Stat_t
	if err := syscall.Stat("/", &root); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	err := filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s: no stat", path)
		}
		if d.IsDir() && stat.Dev != root.Dev {
			return filepath.SkipDir // engines' data, the kernel's files, what is shared
		}
		content := ""
		switch d.Type() {
		case fs.ModeSymlink:
			content, err = os.Readlink(path)
		case 0:
			var data []byte
			data, err = os.ReadFile(path)
			content = fmt.Sprintf("%x", sha256.Sum256(data))
		}
		all[path] = fmt.Sprintf("%v %d:%d %s", info.Mode(), stat.Uid, stat.Gid, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// changes are the paths that differ.
func changes(before, after map[string]string) []string {
	var differ []string
	for path, is := range after {
		if before[path] != is {
			differ = append(differ, path)
		}
	}
	for path := range before {
		if _, there := after[path]; !there {
			differ = append(differ, path)
		}
	}
	slices.Sort(differ)
	return differ
}
