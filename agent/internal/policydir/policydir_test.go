// SPDX-License-Identifier: Apache-2.0

package policydir

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/test/testenv"
)

func TestChangesAreTakenIn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("a.yaml", text("p", "1"))
	r.write("notes.txt", "no policy")
	r.write(".#b.yaml", "an editor's")
	if err := r.Load(); err != nil {
		t.Fatal(err)
	}
	r.settles("p=-1")
	r.write("b.yml", text("q", "1")) // added
	r.settles("p=-1 q=-1")
	r.write("a.yaml", text("p", "2")) // changed where it is
	r.settles("p=-2 q=-1")
	r.write("a.yaml~", text("p", "3")) // changed as editors do
	r.rename("a.yaml~", "a.yaml")
	r.settles("p=-3 q=-1")
	r.write("a.yaml", text("other", "4")) // its policy renamed
	r.settles("other=-4 q=-1")
	r.remove("b.yml")
	r.settles("other=-4")
	r.faulty()
}

// A file that is renamed, also with a change, does not lose its policy on the way.
func TestRenameLeavesNoGap(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("a.yaml", text("p", "1"))
	r.settles("p=-1")
	r.rename("a.yaml", "b.yaml")
	r.clock = r.clock.Add(r.look(r.clock))
	r.clock = r.clock.Add(r.look(r.clock))
	if got, asked := r.force.now(); got != "p=-1" || asked != "add p" {
		t.Errorf("renamed: in force %q, asked for %q", got, asked)
	}
	r.remove("b.yaml")
	r.write("c.yaml", text("p", "2"))
	r.clock = r.clock.Add(r.look(r.clock))
	r.clock = r.clock.Add(r.look(r.clock))
	if got, asked := r.force.now(); got != "p=-2" || asked != "add p" {
		t.Errorf("renamed and changed: in force %q, asked for %q", got, asked)
	}
	// Two files that change names are no conflict.
	r.write("d.yaml", text("q", "1"))
	r.settles("p=-2 q=-1")
	r.write("c.yaml", text("q", "2"))
	r.write("d.yaml", text("p", "3"))
	r.clock = r.clock.Add(r.look(r.clock))
	r.clock = r.clock.Add(r.look(r.clock))
	if got, asked := r.force.now(); got != "p=-3 q=-2" || strings.Contains(asked, "delete") {
		t.Errorf("names changed: in force %q, asked for %q", got, asked)
	}
	// One of them cannot be: what it would have replaced stays, and is its own.
	r.force.refuse["q"] = errors.New("kernel says no")
	r.write("c.yaml", text("p", "4"))
	r.write("d.yaml", text("q", "5"))
	r.settles("p=-4 q=-2")
	r.faulty("d.yaml", "kernel says no")
	r.remove("c.yaml")
	r.settles("q=-2")
	r.remove("d.yaml")
	r.settles("")
}

// What took a file's place after the look is not waited for, and not read.
func TestReadIsOfWhatWasSeen(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "a.yaml")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := read(pipe, identity{}); !errors.Is(err, errBusy) {
		t.Errorf("read %q, %v", text, err)
	}
}

func TestFaultyFileKeepsItsPolicy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("a.yaml", text("p", "1"))
	r.settles("p=-1")
	r.write("a.yaml", "apiVersion: x\nkind: TracingPolicy\nmetadata: {name: p}\nspec: {nonsense: 1}\n")
	r.settles("p=-1")
	r.faulty("a.yaml", "line 1: apiVersion")
	r.faulty("a.yaml", "line 4: spec.nonsense")
	if f := r.Faults(); len(f) == 1 && f[0].Key != "p" {
		t.Errorf("fault is about policy %q, want p", f[0].Key)
	}
	for range 5 {
		r.settles("p=-1")
	}
	if n := strings.Count(r.log.String(), "spec.nonsense"); n != 1 {
		t.Errorf("the fault was logged %d times, want once", n)
	}
	r.write("a.yaml", text("p", "1")) // as it was: nothing has to be done
	r.settles("p=-1")
	if r.faulty(); strings.Count(r.log.String(), "is in force") != 1 {
		t.Errorf("a policy that has not changed was replaced:\n%s", r.log)
	}
	// Refused by the kernel, under a new name: the old one stays.
	r.force.refuse["new"] = errors.New("kernel says no")
	r.write("a.yaml", text("new", "2"))
	r.settles("p=-1")
	r.faulty("a.yaml", "kernel says no")
	r.remove("a.yaml")
	r.settles("")
	// A file that is another's in a version that is refused keeps what is there.
	r.write("a.yaml", text("p", "1"))
	r.settles("p=-1")
	r.force.refuse["p"] = errors.New("kernel says no")
	r.remove("a.yaml")
	r.write("b.yaml", text("p", "2"))
	r.settles("p=-1")
	r.faulty("b.yaml", "kernel says no")
	r.remove("b.yaml")
	r.settles("")
}

func TestRefusedPolicyIsTriedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.force.refuse["p"] = errors.New("added over the API")
	r.write("a.yaml", text("p", "1"))
	r.settles("")
	r.faulty("a.yaml", "added over the API")
	delete(r.force.refuse, "p")
	r.clock = r.clock.Add(2 * retryEvery)
	r.settles("p=-1")
	r.faulty()
}

func TestNameIsOneFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("b.yaml", text("p", "b"))
	r.settles("p=-b")
	r.write("a.yaml", text("p", "a"))
	r.settles("p=-b")
	r.faulty("a.yaml", "policy p is that of file "+filepath.Join(r.path, "b.yaml"))
	r.remove("b.yaml") // the other one takes its place in one step
	r.clock = r.clock.Add(r.look(r.clock))
	r.clock = r.clock.Add(r.look(r.clock))
	if got, asked := r.force.now(); got != "p=-a" || strings.Contains(asked, "delete") {
		t.Errorf("in force %q, asked for %q", got, asked)
	}
	r.faulty()
	both := newRig(t)
	both.write("a.yaml", text("p", "a"))
	both.write("b.yaml", text("p", "b"))
	if err := both.Load(); err == nil || !strings.Contains(err.Error(), "b.yaml: policy p is that of file") {
		t.Errorf("two files of one name at start: %v", err)
	}
}

// A directory as the kubelet mounts it: files are links into ..data, which is a link
// that is turned to the next version in one step.
func TestConfigMap(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(r.path, name)); err != nil {
			t.Fatal(err)
		}
	}
	version := func(dir string, files map[string]string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(r.path, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, content := range files {
			r.write(filepath.Join(dir, name), content)
		}
		link(dir, "..data_tmp")
		r.rename("..data_tmp", "..data")
	}
	version("..1", map[string]string{"a.yaml": text("p", "1"), "b.yaml": text("q", "1")})
	link("..data/a.yaml", "a.yaml")
	link("..data/b.yaml", "b.yaml")
	if err := r.Load(); err != nil {
		t.Fatal(err)
	}
	r.settles("p=-1 q=-1")
	version("..2", map[string]string{"a.yaml": text("p", "2")})
	r.settles("p=-2 q=-1") // the link to b.yaml leads nowhere, and is there
	r.faulty("b.yaml", "leads nowhere")
	r.remove("b.yaml")
	r.settles("p=-2")
	r.faulty()
}

// A file that is being written is not read before it is left alone.
func TestHalfWrittenIsNotRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("a.yaml", text("p", "1"))
	r.settles("p=-1")
	whole := text("p", "2")
	for i := 10; i < 60; i += 10 {
		r.write("a.yaml", whole[:i])
		if wait := r.look(r.clock); wait > quietFor {
			t.Fatalf("next look in %v while the file changes", wait)
		}
		r.clock = r.clock.Add(pause)
		if _, asked := r.force.now(); asked != "" || len(r.Faults()) != 0 {
			t.Fatalf("half of the file was read: asked for %q, faults %v", asked, r.Faults())
		}
	}
	r.write("a.yaml", whole)
	r.settles("p=-2")
	// A file that never rests does not keep the others from being taken in.
	r.write("b.yaml", text("q", "1"))
	for i := 0; i < int(2*restlessFor/quietFor); i++ {
		r.write("a.yaml", strings.Repeat("#", i))
		r.look(r.clock)
		r.clock = r.clock.Add(quietFor)
	}
	if got, _ := r.force.now(); got != "p=-2 q=-1" {
		t.Errorf("in force: %q", got)
	}
}

func TestHostileDirectory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("a.yaml", text("p", "1"))
	r.settles("p=-1")
	// What is no file of text is not waited for, nor read without an end.
	if err := unix.Mkfifo(filepath.Join(r.path, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(r.path, "dir.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"zero.yaml": "/dev/zero", "self.yaml": "self.yaml"} {
		if err := os.Symlink(to, filepath.Join(r.path, name)); err != nil {
			t.Fatal(err)
		}
	}
	large := filepath.Join(r.path, "large.yaml")
	r.write("large.yaml", "")
	if err := os.Truncate(large, 1<<40); err != nil {
		t.Fatal(err)
	}
	r.settles("p=-1")
	r.faulty("dir.yaml", "no regular file", "large.yaml", "bytes long, more than", "pipe.yaml", "no regular file",
		"self.yaml", "too many levels", "zero.yaml", "no regular file")
	for _, name := range []string{"pipe.yaml", "dir.yaml", "zero.yaml", "self.yaml", "large.yaml"} {
		r.remove(name)
	}
	r.settles("p=-1")
	r.faulty()
	for what, make := range map[string]func(*rig){
		"more than 1024": func(r *rig) {
			for i := range maxFiles + 1 {
				r.write(fmt.Sprintf("%d.yaml", i), "")
			}
		},
		"more than 4096 entries": func(r *rig) {
			for i := range maxEntries + 1 {
				r.write(fmt.Sprintf("%d.txt", i), "")
			}
		},
		"bytes long together": func(r *rig) {
			for i := range maxBytes/policy.MaxTextBytes + 1 {
				name := fmt.Sprintf("%d.yaml", i)
				r.write(name, "")
				if err := os.Truncate(filepath.Join(r.path, name), policy.MaxTextBytes); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		r := newRig(t)
		r.write("a.yaml", text("p", "1"))
		r.settles("p=-1")
		make(r)
		r.settles("p=-1")
		r.faulty(filepath.Base(r.path), what)
	}
}

// A directory that goes takes no policy with it: it is on its way to be replaced, or
// somebody would like it to.
func TestDirectoryThatIsGone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	above := r.path
	r.path = filepath.Join(above, "policies")
	if err := r.Load(); err != nil {
		t.Errorf("no directory at start: %v", err)
	}
	r.settles("")
	r.faulty()
	version := func(name, value string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(above, name), 0o700); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(above, name, "a.yaml")
		if err := os.WriteFile(file, []byte(text("p", value)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(name, r.path+"_"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(r.path+"_", r.path); err != nil {
			t.Fatal(err)
		}
	}
	version("one", "1") // made after the start, and a link
	r.settles("p=-1")
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	r.settles("p=-1")
	r.faulty("policies", "no such file")
	version("two", "2")
	r.settles("p=-2")
	r.faulty()
}

// TestRun: the kernel tells of changes, and where it does not they are seen too.
func TestRun(t *testing.T) {
	t.Parallel()
	for name, every := range map[string]time.Duration{"told": time.Hour, "not told": lookEvery} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.log = &strings.Builder{}
			r.Directory.log = slog.New(slog.DiscardHandler)
			r.every = every
			above := r.path
			if every == lookEvery {
				// Files of another directory, which is not watched.
				if err := os.Mkdir(filepath.Join(above, "real"), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("real/a", filepath.Join(above, "a.yaml")); err != nil {
					t.Fatal(err)
				}
			}
			file := map[time.Duration]string{time.Hour: "a.yaml", lookEvery: "real/a"}[every]
			done := make(chan error, 1)
			go func() { done <- r.Directory.Run(t.Context()) }()
			for i := range 3 {
				r.write(file, text("p", fmt.Sprint(i)))
				want := fmt.Sprintf("p=-%d", i)
				testenv.Eventually(t, 20*time.Second, want, func() error {
					if got, _ := r.force.now(); got != want {
						return errors.New(got)
					}
					return nil
				})
			}
		})
	}
}
