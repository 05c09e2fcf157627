// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/hook/agentclient"
)

// TestRuntimeSeesWhatItWouldWithoutTheWrapper: also where a hook is added.
func TestRuntimeSeesWhatItWouldWithoutTheWrapper(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	for _, line := range []string{
		"", "--root /r --log /dev/null state x", "create --bundle B x", "run -b B --console-socket ",
		"exec x sh", "restore --bundle=B x", "features --exec x --config y", "--new x create --bundle B x",
	} {
		// What Fields would lose: an empty argument, bytes that are no UTF-8.
		args := append(strings.Fields(strings.ReplaceAll(line, "B", w.bundle)), "", "a b\xff\n")
		cmd := w.asRuntime(args...)
		cmd.Env = append(cmd.Env, "ODD=\xff=\n", "EMPTY=")
		cmd.Stdin = strings.NewReader("for the runtime")
		extra, err := os.Open(w.marker)
		if err != nil {
			t.Fatal(err)
		}
		defer extra.Close()
		w.write(w.marker, []byte("descriptor 3"))
		cmd.ExtraFiles = []*os.File{extra}
		r, s := w.finish(cmd)
		if s == nil {
			t.Fatalf("%q: no runtime was started: %+v", line, r)
		}
		var env []string
		for _, e := range s.Env {
			if e != "PWD="+w.dir || slices.Contains(cmd.Env, e) {
				env = append(env, e)
			}
		}
		// JSON has replaced what is no UTF-8 in what was told.
		want := slices.Concat([]string{w.runtime}, args)
		for _, list := range [][]string{want, cmd.Env} {
			for i := range list {
				list[i] = strings.ToValidUTF8(list[i], "\uFFFD")
			}
		}
		if !slices.Equal(s.Args, want) {
			t.Errorf("%q: arguments %q, want %q", line, s.Args, want)
		}
		for _, e := range cmd.Env[len(cmd.Env)-6:] {
			if !slices.Contains(env, e) {
				t.Errorf("%q: the environment lacks %q", line, e)
			}
		}
		if s.Stdin != "for the runtime" || s.Extra != "descriptor 3" || s.Pid != cmd.ProcessState.Pid() {
			t.Errorf("%q: standard input %q, descriptor 3 %q, pid %d, want %d", line, s.Stdin, s.Extra, s.Pid, cmd.ProcessState.Pid())
		}
		if r.status != runtimeExit || r.stdout != "from the runtime\n" || r.stderr != "" {
			t.Errorf("%q: exit status %d, standard output %q, standard error %q", line, r.status, r.stdout, r.stderr)
		}
	}
}

func TestSignalsReachTheRuntime(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	cmd := w.asRuntime("run", "-b", w.bundle, "wait")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(out, line); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != runtimeExit {
		t.Errorf("%v", err)
	}
	if raw, _ := os.ReadFile(w.told); !strings.Contains(string(raw), `"Signal":"`+syscall.SIGUSR1.String()+`"`) {
		t.Errorf("told: %s", raw)
	}
}

func TestHookIsAddedToBundles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line  string
		added bool
	}{
		{"create --bundle B x", true}, {"--root /r --log /dev/null --systemd-cgroup run -d -b B x", true}, {"restore --bundle=B x", true},
		{"start x", false}, {"delete --force x", false}, {"kill x 9", false}, {"exec x sh", false}, {"spec -b B", false}, {"--new x create --bundle B x", false},
	} {
		w := newWrapped(t)
		if err := os.Chmod(w.papers(), 0o640); err != nil {
			t.Fatal(err)
		}
		for again := range 2 {
			r, s := w.finish(w.asRuntime(strings.Fields(strings.ReplaceAll(c.line, "B", w.bundle))...))
			hooks := w.hooks()
			if s == nil || (len(hooks) == 1) != c.added || len(hooks) > 1 {
				t.Fatalf("%s: %+v, hooks %v", c.line, r, hooks)
			}
			if !c.added {
				continue
			}
			want := []string{"boltseal-hook", "createRuntime", "--config", filepath.Join(w.dir, "hook.json")}
			if hooks[0].Path != w.hook || !slices.Equal(hooks[0].Args, want) || hooks[0].Timeout == nil || *hooks[0].Timeout != 22 {
				t.Errorf("%s: hook %+v", c.line, hooks[0])
			}
			if r.log["added"] != (again == 0) {
				t.Errorf("%s, time %d: log %v", c.line, again, r.log)
			}
		}
		entries, err := os.ReadDir(w.bundle)
		info, statErr := os.Stat(w.papers())
		if err != nil || statErr != nil || len(entries) != 1 || info.Mode() != 0o640 {
			t.Errorf("%s: the bundle has %v, config.json mode %v (%v, %v)", c.line, entries, info.Mode(), err, statErr)
		}
	}
}

func TestWorkingDirectoryIsTheBundle(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	cmd := w.asRuntime("create", "x")
	cmd.Dir = w.bundle
	if r, s := w.finish(cmd); s == nil || len(w.hooks()) != 1 {
		t.Errorf("%+v, hooks %v", r, w.hooks())
	}
}

func TestNotUnderstoodIsLogged(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	r, s := w.finish(w.asRuntime("--new", "x", "create", "--bundle", w.bundle, "x"))
	if s == nil || r.log["flag"] != "--new" || r.log["level"] != "WARN" {
		t.Errorf("%+v", r)
	}
}

// TestBundleThatCanNotBeChanged: the fail policy decides, and says so where engines look.
func TestBundleThatCanNotBeChanged(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*wrapped){
		"no bundle":        func(w *wrapped) { w.bundle = "/nonexistent" },
		"no config.json":   func(w *wrapped) { os.Remove(w.papers()) },
		"broken":           func(w *wrapped) { w.write(w.papers(), []byte(`{"hooks":`)) },
		"hooks of no kind": func(w *wrapped) { w.write(w.papers(), []byte(`{"Hooks":{}}`)) },
		"a pipe":           func(w *wrapped) { os.Remove(w.papers()); os.Rename(fifo(w.t, w.dir), w.papers()) },
	} {
		w := newWrapped(t)
		spoil(w)
		log := filepath.Join(w.dir, "log.json")
		args := []string{"--log", log, "--log-format", "json", "create", "--bundle", w.bundle, "x"}
		for _, answer := range []agentclient.Answer{agentclient.Block, agentclient.Quarantine} {
			w.setPolicy(answer)
			r, s := w.finish(w.asRuntime(args...))
			if s != nil || r.status != 1 || !strings.Contains(r.stderr, "create: not executed: ") || !strings.Contains(r.stderr, "config.json") || !strings.Contains(r.stderr, "fail policy "+string(answer)) {
				t.Errorf("%s, %s: %+v, runtime %v", name, answer, r, s)
			}
			var told struct{ Level, Msg, Time string }
			raw, err := os.ReadFile(log)
			if err == nil {
				err = errors.Join(json.Unmarshal(raw, &told), os.Remove(log))
			}
			if _, timeErr := time.Parse(time.RFC3339, told.Time); err != nil || timeErr != nil || told.Level != "error" || told.Msg+"\n" != r.stderr {
				t.Errorf("%s: the runtime's log has %q (%v, %v)", name, raw, err, timeErr)
			}
			if r.log["level"] != "ERROR" {
				t.Errorf("%s: log %v", name, r.log)
			}
		}
		w.setPolicy(agentclient.Allow)
		r, s := w.finish(w.asRuntime(args...))
		if s == nil || r.status != runtimeExit || r.stderr != "" || r.log["level"] != "WARN" || r.log["outcome"] != "executed without the hook" {
			t.Errorf("%s, allow: %+v", name, r)
		}
	}
}

// TestBrokenConfigurationBlocksContainersOnly: those that are there can still be stopped.
func TestBrokenConfigurationBlocksContainersOnly(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	w.config["fail_policy"] = map[string]any{"default": "alow"}
	r, s := w.finish(w.asRuntime("create", "--bundle", w.bundle, "x"))
	if s != nil || r.status != 1 || !strings.Contains(r.stderr, "alow") || w.hooks() != nil {
		t.Errorf("create: %+v", r)
	}
	for _, line := range []string{"delete --force x", "kill x 9", "exec x sh", "state x"} {
		if r, s := w.finish(w.asRuntime(strings.Fields(line)...)); s == nil || r.stderr != "" {
			t.Errorf("%s: %+v", line, r)
		}
	}
}

// TestNames: what the program is called by says which runtime it is for.
func TestNames(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	link := func(name string) string {
		path := filepath.Join(w.dir, name)
		if err := os.Symlink(w.hook, path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if r, s := w.finish(w.command(link("boltseal-runc"), "create", "--bundle", w.bundle, "x")); s == nil || s.Args[0] != w.runtime ||
		len(w.hooks()) != 1 || w.hooks()[0].Path != w.hook || !slices.Equal(w.hooks()[0].Args, []string{"boltseal-hook", "createRuntime"}) {
		t.Errorf("boltseal-runc: %+v, runtime %v, hooks %v", r, s, w.hooks())
	}
	if r, s := w.finish(w.command(link("boltseal-crun"), "state", "x")); s != nil || r.status != 1 || !strings.Contains(r.stderr, "runtime crun: in no directory") {
		t.Errorf("boltseal-crun: %+v", r)
	}
	if r, s := w.finish(w.command(link("boltseal-hook-2"), "version")); s != nil || r.status != 0 || !strings.Contains(r.stdout, "boltseal-hook ") {
		t.Errorf("boltseal-hook-2: %+v", r)
	}
}

// TestLoops: the wrapper never executes itself, by whichever name.
func TestLoops(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	again := filepath.Join(w.dir, "runc")
	if err := os.Symlink(w.hook, again); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{w.hook, again} {
		if r, s := w.finish(w.command(w.hook, "runtime", "--exec", path, "state", "x")); s != nil || r.status != 1 || !strings.Contains(r.stderr, "is boltseal-hook itself") {
			t.Errorf("%s: %+v", path, r)
		}
	}
	// $PATH is searched past what is the wrapper, and past what is relative.
	cmd := w.command(w.hook, "runtime", "--exec", "runc", "state", "x")
	cmd.Env = append(cmd.Env, "PATH=.:"+w.dir+":"+filepath.Dir(w.runtime))
	if r, s := w.finish(cmd); s == nil || s.Args[0] != w.runtime {
		t.Errorf("behind itself in $PATH: %+v", r)
	}
	cmd = w.command(w.hook, "runtime", "--exec", "runc", "state", "x")
	cmd.Env = append(cmd.Env, "PATH="+w.dir)
	if r, s := w.finish(cmd); s != nil || r.status != 1 || !strings.Contains(r.stderr, "is boltseal-hook itself") {
		t.Errorf("alone in $PATH: %+v", r)
	}
}

func TestRuntimeUsage(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	for line, want := range map[string]string{
		"": "--exec is missing", "--exec": "the runtime is missing", "--exec=": "the runtime is empty", "create --exec /x": `"create" stands before`,
		"--nonsense --exec /x": "nonsense", "--config x --exec /x": "not an absolute path",
	} {
		r, s := w.finish(w.command(w.hook, append([]string{"runtime"}, strings.Fields(line)...)...))
		if s != nil || r.status != exitUsage || !strings.Contains(r.stderr, want) {
			t.Errorf("%q: %+v", line, r)
		}
	}
	for path, want := range map[string]string{"./runc": "not an absolute path", "/nonexistent": "no such file", w.dir: "not an executable file", w.marker: "not an executable file"} {
		if r, s := w.finish(w.command(w.hook, "runtime", "--exec="+path, "state")); s != nil || r.status != 1 || !strings.Contains(r.stderr, want) {
			t.Errorf("%q: %+v", path, r)
		}
	}
}

// TestExecIsTold: the agent hears of a process before the runtime can start it.
func TestExecIsTold(t *testing.T) {
	t.Parallel()
	w := newWrapped(t)
	// A notice is under way for a fifth of a second at most, which a busy machine may
	// not keep: those that are late are not waited for.
	agent := w.serveNotices(ok)
	process := filepath.Join(w.dir, "process.json")
	w.write(process, []byte(`{"args":["sh","-c","id"],"cwd":"/w","terminal":true,"user":{"uid":1,"gid":2},"new":[]}`))
	for line, want := range map[string]*boltseal.ExecNoticeRequest{
		"--root /r exec --process " + process + " --detach abc": {ContainerId: "abc", Args: []string{"sh", "-c", "id"}, Cwd: "/w", User: "1:2", Tty: true},
		"exec -u app abc ls -l":                                 {ContainerId: "abc", Args: []string{"ls", "-l"}, User: "app"},
	} {
		var got *boltseal.ExecNoticeRequest
		for got == nil {
			cmd := w.asRuntime(strings.Fields(line)...)
			r, s := w.finish(cmd)
			if s == nil || r.status != runtimeExit || r.stderr != "" {
				t.Fatalf("%s: %+v", line, r)
			}
			select {
			case got = <-agent.notices:
				if got.GetRuntimePid() != uint32(cmd.ProcessState.Pid()) {
					t.Errorf("%s: runtime's pid %d, want %d", line, got.GetRuntimePid(), cmd.ProcessState.Pid())
				}
			default:
				if reason, _ := r.log["reason"].(string); !strings.Contains(reason, "deadline") {
					t.Fatalf("%s: not told, and not for the time it took: %v", line, r.log)
				}
			}
		}
		if got.GetContainerId() != want.GetContainerId() || !slices.Equal(got.GetArgs(), want.GetArgs()) || got.GetCwd() != want.GetCwd() ||
			got.GetUser() != want.GetUser() || got.GetTty() != want.GetTty() {
			t.Errorf("%s: notice %v, want %v", line, got, want)
		}
	}
}

// TestExecGoesOn: whatever becomes of the notice.
func TestExecGoesOn(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	for name, c := range map[string]struct {
		serve func(*wrapped)
		line  string
		want  string
	}{
		"no agent": {func(*wrapped) {}, "exec abc sh", "no such file"},
		"an agent that hangs": {func(w *wrapped) {
			w.serveNotices(func(context.Context) error { <-over; return nil })
		}, "exec abc sh", "no answer"},
		"an agent that refuses": {func(w *wrapped) {
			w.serveNotices(func(context.Context) error { return status.Error(codes.NotFound, "who?") })
		}, "exec abc sh", ""}, // or the deadline, on a busy machine
		"no process.json": {func(w *wrapped) { w.serveNotices(ok) }, "exec --process /nonexistent abc", "process: "},
	} {
		w := newWrapped(t)
		c.serve(w)
		r, s := w.finish(w.asRuntime(strings.Fields(c.line)...))
		reason, _ := r.log["reason"].(string)
		if s == nil || r.status != runtimeExit || r.stderr != "" || r.log["outcome"] != "agent not told of exec" || !strings.Contains(reason, c.want) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestOwnerIsKept needs root, who may give files away.
func TestOwnerIsKept(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file to another user")
	}
	w := newWrapped(t)
	if err := os.Chown(w.papers(), 1234, 2345); err != nil {
		t.Fatal(err)
	}
	if _, s := w.finish(w.asRuntime("create", "--bundle", w.bundle, "x")); s == nil || len(w.hooks()) != 1 {
		t.Fatal("not executed, or without the hook")
	}
	info, err := os.Stat(w.papers())
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 1234 || owner.Gid != 2345 {
		t.Errorf("config.json is of %s:%s", strconv.Itoa(int(owner.Uid)), strconv.Itoa(int(owner.Gid)))
	}
}
