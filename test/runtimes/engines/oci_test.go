// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// The ways into a low-level runtime that is called without an engine above it.
const (
	byBundle  = "hook in the bundle"
	byWrapper = "wrapper"
)

func ociWays() []way {
	var ways []way
	for _, program := range []string{"runc", "crun"} {
		for _, by := range []string{byBundle, byWrapper} {
			w := way{engine: program, by: by, open: func(t *testing.T) engine {
				t.Helper()
				return openOCI(t, program, by)
			}}
			if program == "crun" {
				w.lacks = refusesMixed
			}
			ways = append(ways, w)
		}
	}
	return ways
}

// refusesMixed holds that crun starts nothing where cgroups are of mixed versions.
func refusesMixed(t *testing.T) string {
	t.Helper()
	if unified(t) {
		return ""
	}
	result := openOCI(t, "crun", byBundle).attempt(t)
	if result.Code == 0 || !strings.Contains(result.Stderr, "hybrid mode not supported") {
		t.Errorf("crun does not refuse cgroups of mixed versions: %s", result)
	}
	return "crun refuses cgroups of mixed versions"
}

// oci is runc or crun.
type oci struct {
	program, by, version string
	root                 string // of its state

	mu   sync.Mutex
	made map[string]*bundle // by id
}

// bundle is a container of it.
type bundle struct {
	*testenv.Container
	path string // of the runtime, or of the wrapper
	// done is closed when the command has ended that runs it, as result says.
	done   chan struct{}
	result testenv.Result
}

func openOCI(t *testing.T, program, by string) *oci {
	t.Helper()
	needs(t, program)
	runtime := testenv.NewRunc(t)
	runtime.Path = program
	o := &oci{program: program, by: by, root: runtime.Root, made: map[string]*bundle{}}
	o.version = versionIn(must(t, program, "--version"))
	if by == byWrapper {
		link := filepath.Join(binDir, "boltseal-"+program)
		if err := os.Symlink("boltseal-hook", link); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(link); err != nil {
				t.Error(err)
			}
		})
	}
	return o
}

func (o *oci) title() string { return o.version }

// attempt runs a container that needs nothing.
func (o *oci) attempt(t *testing.T) testenv.Result {
	t.Helper()
	id := o.create(t, container{name: agentenv.Mark(), shared: testenv.Dir(t), args: []string{"/bin/true"}, plain: true})
	if result := o.start(t, id); result.Code != 0 {
		return result
	}
	return o.wait(t, id)
}

// hookSeconds is how long the hook in a bundle may take, longer than its own deadline.
const hookSeconds = 22

// create writes a bundle: the runtime knows nothing of it before it is started.
func (o *oci) create(t *testing.T, c container) string {
	t.Helper()
	seconds := hookSeconds
	spec := testenv.Spec{
		ID: c.name, Args: c.args, Annotations: agentenv.Marked(c.mark),
		Mounts: []specs.Mount{{Destination: "/tmp", Type: "bind", Source: c.shared, Options: []string{"rbind", "rw"}}},
	}
	b := &bundle{path: o.program}
	switch {
	case c.plain:
	case o.by == byWrapper:
		b.path = filepath.Join(binDir, "boltseal-"+o.program)
	default:
		spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{
			Path: hookPath, Args: []string{"boltseal-hook", "createRuntime"}, Timeout: &seconds,
		}}}
	}
	b.Container = testenv.Bundle(t, spec)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.made[b.ID] = b
	return b.ID
}

func (o *oci) bundle(id string) *bundle {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.made[id]
}

// do runs the runtime's command for a container.
func (o *oci) do(t *testing.T, id string, args ...string) testenv.Result {
	t.Helper()
	return run(t, slices.Concat([]string{o.bundle(id).path, "--root", o.root}, args)...)
}

// start runs the container in the foreground of a command, which tells its exit status
// in the end. Once there is the file of its process it has been started.
func (o *oci) start(t *testing.T, id string) testenv.Result {
	t.Helper()
	b := o.bundle(id)
	file := filepath.Join(b.Dir, "pid")
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
	b.done = make(chan struct{})
	go func() {
		defer close(b.done)
		b.result = o.foreground(b, "run", "--bundle", b.Dir, "--pid-file", file, id)
	}()
	for {
		ended := false
		select {
		case <-b.done:
			ended = true
		case <-time.After(time.Millisecond):
		}
		if pid, err := os.ReadFile(file); err == nil && len(pid) > 0 {
			return testenv.Result{}
		}
		if ended {
			return b.result
		}
	}
}

// foreground runs a command whose output the container's processes may keep open.
func (o *oci) foreground(b *bundle, args ...string) testenv.Result {
	cmd := exec.Command(b.path, slices.Concat([]string{"--root", o.root}, args)...)
	var errs []error
	for name, to := range map[string]func(*os.File){
		"stdout": func(f *os.File) { cmd.Stdout = f }, "stderr": func(f *os.File) { cmd.Stderr = f },
	} {
		file, err := os.OpenFile(filepath.Join(b.Dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err == nil {
			defer file.Close()
			to(file)
		}
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	if err == nil {
		err = cmd.Run()
	}
	result := testenv.Result{Code: cmd.ProcessState.ExitCode(), Stdout: b.Stdout(), Stderr: b.Stderr()}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		result.Err = err
	}
	return result
}

func (o *oci) wait(t *testing.T, id string) testenv.Result {
	t.Helper()
	b := o.bundle(id)
	select {
	case <-b.done:
	case <-time.After(patience):
		t.Fatalf("container %s has not ended within %v", id, patience)
	}
	return b.result
}

func (o *oci) exec(t *testing.T, id string, argv ...string) testenv.Result {
	t.Helper()
	return o.do(t, id, append([]string{"exec", id}, argv...)...)
}

// restart makes the container anew from its bundle, which is all that there is to it.
func (o *oci) restart(t *testing.T, id string) testenv.Result {
	t.Helper()
	if result := o.do(t, id, "kill", id, "KILL"); result.Code != 0 {
		return result
	}
	o.wait(t, id)
	return o.start(t, id)
}

func (o *oci) pause(t *testing.T, id string) testenv.Result {
	t.Helper()
	return o.do(t, id, "pause", id)
}

func (o *oci) unpause(t *testing.T, id string) testenv.Result {
	t.Helper()
	result := o.do(t, id, "resume", id)
	if result.Code != 0 {
		// It may have ended as it went on, and its cgroup with it.
		select {
		case <-o.bundle(id).done:
			return testenv.Result{}
		case <-time.After(time.Second):
		}
	}
	return result
}

func (o *oci) remove(t *testing.T, id string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(o.root, id)); err == nil {
		result := o.do(t, id, "delete", "--force", id)
		// crun's run deletes it as it ends.
		if _, err := os.Stat(filepath.Join(o.root, id)); err == nil {
			t.Errorf("remove: %s", result)
		}
	}
	if b := o.bundle(id); b.done != nil {
		o.wait(t, id)
	}
}

func (o *oci) own() map[string]own {
	const because = "low-level runtimes start no NRI plugins"
	return map[string]own{
		cellPluginDies:  {because: because, check: startsNoPlugin},
		cellSynchronize: {because: because, check: startsNoPlugin},
		cellBetween:     {because: "hooks are asked at create, not at start: it starts, and a later agent takes it in late", check: o.createdBefore},
	}
}

// createdBefore holds that a container which was created under an agent starts without
// it, and that an agent which comes later knows it.
func (o *oci) createdBefore(t *testing.T, r *rig) {
	s := r.telltale(t)
	b := o.bundle(s.id)
	if result := o.foreground(b, "create", "--bundle", b.Dir, s.id); result.Code != 0 {
		t.Fatalf("create: %s", result)
	}
	if known := r.agent.Container(t, s.id); known.GetSealedNs() == 0 {
		t.Errorf("created, and known as %v", known)
	}
	r.away(t)
	result := o.do(t, s.id, "start", s.id)
	s.admitted(t, result.Code == 0, result.String())
	r.up(t)
	s.takenOver(t)
	s.judged(t, "exec", s.exec(t, s.id, "/bin/cat", "/etc/shadow"))
}
