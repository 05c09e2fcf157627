// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"crypto/sha1" //nolint:gosec // what the kernel may be told to use
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/test/testenv"
)

// hashed is a policy about one file at a security hook, by its argument.
func (b *bench) hashed(hook, argument, path, actions string) *compile.Policy {
	b.t.Helper()
	text := "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n  lsmhooks:\n  - hook: " + hook +
		"\n    args: [{index: 0, type: " + argument + "}]\n    selectors:\n    - matchArgs: [{index: 0, operator: Equal, values: ['" + path +
		"']}]\n      matchActions: [" + actions + "]\n"
	p, err := policy.Parse([]byte(text))
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := compile.Compile(p, b.points)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

const postHash = "{action: Post, imaHash: true}"

// checkHash checks that the next event is of the file and has the hash of its
// content; of none if there is none.
func (b *bench) checkHash(what, path string, content []byte) {
	b.t.Helper()
	e := b.event()
	if e == nil || e.strings[0] != path {
		b.t.Errorf("%s: event %+v, want one of %s", what, e, path)
		return
	}
	if content == nil {
		if e.FileHash != 0 || e.hash != "" {
			b.t.Errorf("%s: hash %x of algorithm %d, want none", what, e.hash, e.FileHash)
		}
		return
	}
	var want []byte
	switch e.FileHash { // the kernel's numbers, plus one
	case 3:
		sum := sha1.Sum(content) //nolint:gosec // as above
		want = sum[:]
	case 5:
		sum := sha256.Sum256(content)
		want = sum[:]
	case 7:
		sum := sha512.Sum512(content)
		want = sum[:]
	default:
		b.t.Errorf("%s: algorithm %d", what, e.FileHash)
	}
	if len(e.hash) != 64 || !strings.HasPrefix(e.hash, string(want)) {
		b.t.Errorf("%s: hash %x, want %x", what, e.hash, want)
	}
}

func (b *bench) checkNoEvent(what string) {
	b.t.Helper()
	if e := b.event(); e != nil {
		b.t.Errorf("%s: an event too many of %q", what, e.strings)
	}
}

// locks opens a file as flags say and locks it.
func (b *bench) locks(path string, flags int, want error) {
	b.t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Flock(fd, unix.LOCK_EX); !errors.Is(err, want) {
		b.t.Errorf("lock %s: %v, want %v", path, err, want)
	}
}

// Events of files have the hash of what is in them, whatever they are open for
// and whether the act may be.
func TestFilesAreHashed(t *testing.T) {
	b := newProbedBench(t)
	testenv.Require(t, able(compile.CanHashFile, b))
	path, allowed := twoFiles(t)
	content := []byte("what is in the file " + path)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	id := b.load(b.hashed("file_lock", "file", path, postHash))
	plain := b.load(b.hashed("file_lock", "file", allowed, post))
	b.apply(Member{id, true}, Member{plain, true})
	b.locks(path, unix.O_RDONLY, nil)
	b.checkHash("read", path, content)
	b.locks(path, unix.O_WRONLY, nil)
	b.checkHash("written", path, content)
	content = append(content, " and more"...)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	b.locks(path, unix.O_RDWR, nil)
	b.checkHash("changed", path, content)
	b.locks(allowed, unix.O_RDONLY, nil)
	b.checkHash("no rule asks", allowed, nil)
	denied := b.load(b.hashed("file_lock", "file", path, postHash+", {action: Override, argError: -61}"))
	b.apply(Member{denied, true})
	b.locks(path, unix.O_RDONLY, unix.ENODATA)
	b.checkHash("denied", path, content)
	b.apply(Member{plain, true})
	b.locks(path, unix.O_RDONLY, nil)
	b.locks(allowed, unix.O_RDONLY, nil)
	b.checkHash("no rule in force asks", allowed, nil)
	b.checkNoEvent("the end")
	if got, want := b.counters(denied), (Counters{Post: 1, Override: 1}); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
}

// While a file is being opened for reading it cannot be read. One that is opened for
// writing the kernel opens once more, which is nobody's act.
func TestFilesBeingOpenedAreHashed(t *testing.T) {
	b := newProbedBench(t)
	testenv.Require(t, able(compile.CanHashFile, b))
	path, _ := twoFiles(t)
	content := []byte("what is in the file " + path)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	id := b.load(b.hashed("file_open", "file", path, postHash))
	b.apply(Member{id, true})
	b.opens(path, nil)
	b.checkHash("read", path, nil)
	b.locks(path, unix.O_WRONLY, nil)
	b.checkHash("written", path, content)
	b.checkNoEvent("the kernel opens the file to hash it")
	denied := b.load(b.hashed("file_open", "file", path, postHash+", {action: Override, argError: -61}"))
	b.apply(Member{denied, true})
	if _, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0); !errors.Is(err, unix.ENODATA) {
		t.Errorf("open for writing: %v, want %v", err, unix.ENODATA)
	}
	b.checkHash("denied", path, content)
	if got, want := b.counters(denied), (Counters{Post: 1, Override: 1}); got != want {
		t.Errorf("counters %+v, want %+v", got, want)
	}
	if _, err := b.points.Hook("file_post_open"); errors.Is(err, compile.ErrNoCall) {
		return // there since Linux 6.9
	}
	b.apply(Member{b.load(b.hashed("file_post_open", "file", path, postHash)), true})
	b.opens(path, nil)
	b.checkHash("opened", path, content)
}

// The same of programs that are executed.
func TestProgramsAreHashed(t *testing.T) {
	b := newProbedBench(t)
	testenv.Require(t, able(compile.CanHashFile, b))
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skipf("needs a program that is linked statically: %v", err)
	}
	content, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(testenv.Dir(t), "true")
	if err := os.WriteFile(path, content, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ hook, argument string }{
		{"bprm_check_security", "linux_binprm"}, {"bprm_creds_from_file", "linux_binprm"}, {"bprm_committing_creds", "linux_binprm"},
		{"bprm_committed_creds", "linux_binprm"}, {"mmap_file", "file"},
	} {
		id := b.load(b.hashed(c.hook, c.argument, path, postHash))
		b.apply(Member{id, true})
		if out, err := exec.CommandContext(t.Context(), path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", c.hook, err, out)
		}
		b.apply()
		if err := b.Unload(id); err != nil {
			t.Fatal(err)
		}
		b.checkHash(c.hook, path, content)
		for b.event() != nil { // a program is mapped in several parts
		}
	}
}

// What was left for enforcers can be taken back before they come to it.
func TestNoticesAreTakenBack(t *testing.T) {
	b := newProbedBench(t)
	testenv.Require(t, able(compile.CanModifyReturn, b), able(compile.CanKprobe, b))
	forbidden, allowed := twoFiles(t)
	text := `apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata: {name: p}
spec:
  enforcers: [{calls: [security_file_open]}]
  tracepoints:
  - {subsystem: syscalls, event: sys_enter_openat, args: [{index: 6, type: string}],
     selectors: [{matchArgs: [{index: 6, operator: Equal, values: [FORBIDDEN, ALLOWED]}], matchActions: [{action: NotifyEnforcer, argError: -61}]}]}
  kprobes:
  - {call: do_sys_openat2, syscall: false, args: [{index: 1, type: string}],
     selectors: [{matchArgs: [{index: 1, operator: Equal, values: [ALLOWED]}], matchActions: [{action: CleanupEnforcerNotification}, {action: NoPost}]}]}
`
	p, err := policy.Parse([]byte(strings.NewReplacer("FORBIDDEN", forbidden, "ALLOWED", allowed).Replace(text)))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := compile.Compile(p, b.points)
	if err != nil {
		t.Fatal(err)
	}
	id := b.load(compiled)
	b.apply(Member{id, true})
	for range 2 {
		b.opens(allowed, nil)
		b.opens(forbidden, unix.ENODATA)
	}
	if got := b.counters(id); got.Notify != 4 || got.NoPost < 2 {
		t.Errorf("counters %+v", got)
	}
}

// Events of functions have the stacks that their policies ask for.
func TestStacksOfFunctions(t *testing.T) {
	for _, c := range []struct {
		name    string
		needs   compile.Mechanism
		section string
		hook    string
		text    int // the argument
	}{
		{"kprobe", compile.CanKprobe, "kprobes", "{call: do_sys_openat2, syscall: false,", 1},
		{"system call", compile.CanKprobe, "kprobes", "{call: sys_openat,", 1},
		{"trampoline", compile.CanFentry, "fentries", "{call: sys_openat,", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newProbedBench(t)
			testenv.Require(t, able(c.needs, b))
			path, _ := twoFiles(t)
			text := "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n  " + c.section + ":\n  - " + c.hook + `
     args: [{index: 1, type: string}], selectors: [{matchArgs: [{index: 1, operator: Equal, values: ['` + path + `']}],
     matchActions: [{action: Post, kernelStackTrace: true, userStackTrace: true, rateLimit: 1h, rateLimitScope: global}]}]}
`
			p, err := policy.Parse([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			compiled, err := compile.Compile(p, b.points)
			if err != nil {
				t.Fatal(err)
			}
			id := b.load(compiled)
			b.apply(Member{id, true})
			b.opens(path, nil)
			b.opens(path, nil)
			if got, want := b.counters(id), (Counters{Post: 1, Limited: 1}); got != want {
				t.Errorf("counters %+v, want %+v", got, want)
			}
			e := b.event()
			if e == nil {
				t.Fatal("no event")
			}
			if names := symbolsOf(e.kernel); !strings.Contains(names, systemCall()) || !strings.Contains(names, "sys_openat") {
				t.Errorf("kernel's stack %s", names)
			}
			if names := functionsOf(e.user); !strings.Contains(names, "engine.(*bench).opens < ") {
				t.Errorf("stack of the process: %s", names)
			}
		})
	}
}
