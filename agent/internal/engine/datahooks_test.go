// SPDX-License-Identifier: Apache-2.0

package engine

import (
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

// hooks parses and compiles the hooks of a section; $M is the test's word.
func (b *bench) hooks(section, items, options string) *compile.Policy {
	b.t.Helper()
	text := "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata: {name: p}\nspec:\n" + options + "  " + section + ":\n" + items
	p, err := policy.Parse([]byte(strings.ReplaceAll(text, "$M", b.marker)))
	if err != nil {
		b.t.Fatal(err)
	}
	c, err := compile.Compile(p, b.points)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// value is an argument of an event: its word, and its text where it has one.
func (b *bench) value(e *siteEvent, id PolicyID, arg int) (word uint64, text string) {
	b.t.Helper()
	bit := b.policies[id].hooks[0].first
	rule, ok := b.Resolve(e.Site, e.Version, bit)
	if !ok {
		b.t.Fatalf("nobody knows the rule of %+v", e)
	}
	if s := rule.Strings[arg]; s >= 0 {
		text = e.strings[s]
	}
	return e.Regs[rule.Dimensions[arg]], text
}

// comm is the name of this thread, of which another one's event could tell.
func comm(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(text), "\n")
}

// Paths lead from the arguments of a raw tracepoint: to text, to what is inside of a
// structure, through other tasks, and into arrays.
func TestPathsFromRawTracepoints(t *testing.T) {
	b := newBench(t)
	program, err := exec.LookPath("true")
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(testenv.Dir(t), "name")
	if err := os.Symlink(program, name); err != nil {
		t.Fatal(err)
	}
	args := `args: [{index: 2, resolve: file.f_path}, {index: 2, resolve: filename}, {index: 0, resolve: tgid}, {index: 0, resolve: "signal.rlim[7].rlim_cur", type: uint64}, {index: 0, resolve: real_parent.tgid, type: uint32}]`
	about := func(more string) PolicyID {
		return b.load(b.policy(`  - {subsystem: sched, event: sched_process_exec, raw: true, ` + args + `,
     selectors: [{matchArgs: [{args: [1], operator: Equal, values: ["` + name + `"]}` + more + `]}]}
`))
	}
	yes, prefix := about(`, {args: [0], operator: Equal, values: ["`+program+`"]}`), about(`, {args: [1], operator: NotPrefix, values: ["`+name+`"]}`)
	b.apply(Member{yes, true}, Member{prefix, true})
	cmd := exec.CommandContext(t.Context(), name)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if a, p := b.counters(yes), b.counters(prefix); a.Post != 1 || p.Post != 0 {
		t.Errorf("matched %d and %d times, want 1 and 0", a.Post, p.Post)
	}
	e := b.event()
	if e == nil {
		t.Fatal("no event")
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	_, path := b.value(e, yes, 0)
	_, text := b.value(e, yes, 1)
	pid, _ := b.value(e, yes, 2)
	parent, _ := b.value(e, yes, 4)
	if path != program || text != name || pid != uint64(cmd.Process.Pid) || parent != uint64(os.Getpid()) {
		t.Errorf("path %q, name %q, process %d of %d; want %q, %q, %d of %d", path, text, pid, parent, program, name, cmd.Process.Pid, os.Getpid())
	}
	if limit, _ := b.value(e, yes, 3); limit == 0 || limit > files.Max {
		t.Errorf("limit of files %d, want one up to %d", limit, files.Max)
	}
}

// What cannot be read is a match for rules that enforce, and for no others.
func TestPathsThatLeadNowhere(t *testing.T) {
	b := newBench(t)
	about := func(action string) PolicyID {
		return b.load(b.policy(`  - {subsystem: sched, event: sched_process_exec, raw: true, args: [{index: 2, resolve: filename}, {index: 0, resolve: bio_list.head, type: uint64}],
     selectors: [{matchArgs: [{args: [0], operator: Postfix, values: ["$M"]}, {args: [1], operator: Equal, values: ["7"]}], matchActions: [` + action + `]}]}
`))
	}
	posts, winks := about(post), about(wink)
	b.apply(Member{posts, true}, Member{winks, true})
	name := filepath.Join(testenv.Dir(t), b.marker)
	program, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, name); err != nil {
		t.Fatal(err)
	}
	run := func() {
		t.Helper()
		if err := exec.CommandContext(t.Context(), name).Run(); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if p, w := b.counters(posts), b.counters(winks); p.Post != 0 || w.Post != 1 || w.Signal != 1 {
		t.Errorf("counters %+v of the rule that reports, %+v of the one that enforces", p, w)
	}
	e := b.event()
	if e == nil {
		t.Fatal("no event")
	}
	rule, _ := b.Resolve(e.Site, e.Version, b.policies[winks].hooks[0].first)
	if e.Unreadable != 1<<rule.Dimensions[1] {
		t.Errorf("unreadable words %b, want that of dimension %d", e.Unreadable, rule.Dimensions[1])
	}
	b.apply(Member{winks, false})
	run()
	if w := b.counters(winks); w.Post != 1 || w.MonitorSignal != 0 {
		t.Errorf("counters %+v of the rule that is monitored", w)
	}
}

// Functions, system calls and security hooks: paths from arguments, data of the
// current task, and registers.
func TestDataOfFunctions(t *testing.T) {
	const data = `data: [{index: 0, type: string, source: current_task, resolve: comm}, {index: 1, type: uint32, source: current_task, resolve: cred.uid}`
	const paths = `args: [{index: 0, type: path, resolve: f_path}, {index: 0, type: uint64, resolve: f_inode.i_ino}]`
	match := func(args, data string) string {
		return `selectors: [{matchArgs: [` + args + `], matchData: [{index: 0, operator: Equal, values: ["$C"]}, {index: 1, operator: Equal, values: ["0"]}` + data + `], matchActions: [{action: Post}]}]}
`
	}
	const file = `{args: [0], operator: Equal, values: ["$F"]}`
	for _, c := range []struct {
		name           string
		needs          compile.Mechanism
		section, items string
		// inode is the position of the inode's number, 0: none.
		inode int
	}{
		{"kprobe", compile.CanKprobe, "kprobes", `  - {call: security_file_open, syscall: false, ` + paths + `, ` + data + `], ` + match(file, ""), 1},
		{"register", compile.CanKprobe, "kprobes", `  - {call: security_file_open, syscall: false, args: [{index: 0, type: file}], ` + data + `, {index: 2, type: file, source: pt_regs, resolve: rdi}], ` + match(file, `, {index: 2, operator: Postfix, values: ["$F"]}`), 0},
		{"fentry", compile.CanFentry, "fentries", `  - {call: security_file_open, syscall: false, ` + paths + `, ` + data + `], ` + match(file, ""), 1},
		{"system call", compile.CanKprobe, "kprobes", `  - {call: sys_openat, args: [{index: 1, type: string}], ` + data + `], ` + match(file, ""), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newProbedBench(t)
			testenv.Require(t, able(c.needs, b))
			(&rig{t: t}).pin()
			path := filepath.Join(testenv.Dir(t), "file")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			fill := strings.NewReplacer("$F", path, "$C", comm(t))
			id := b.load(b.hooks(c.section, fill.Replace(c.items), ""))
			wrong := b.load(b.hooks(c.section, strings.NewReplacer("$F", path, "$C", "x"+comm(t)).Replace(c.items), ""))
			b.apply(Member{id, true}, Member{wrong, true})
			b.opens(path, nil)
			if got, no := b.counters(id), b.counters(wrong); got.Post != 1 || no.Post != 0 {
				t.Fatalf("matched %d times, and as another task %d times", got.Post, no.Post)
			}
			e := b.event()
			if e == nil {
				t.Fatal("no event")
			}
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil {
				t.Fatal(err)
			}
			first := len(b.policies[id].hooks[0].hook.Types) - b.policies[id].hooks[0].hook.Data
			if _, text := b.value(e, id, first); text != comm(t) {
				t.Errorf("the task is called %q, want %q", text, comm(t))
			}
			if _, text := b.value(e, id, 0); text != path {
				t.Errorf("the file is %q, want %q", text, path)
			}
			if ino, _ := b.value(e, id, c.inode); c.inode > 0 && ino != st.Ino {
				t.Errorf("inode %d, want %d", ino, st.Ino)
			}
		})
	}
}

// A security hook denies by what a path leads to.
func TestDenialByPath(t *testing.T) {
	b := newProbedBench(t)
	testenv.Require(t, able(compile.CanLSM, b))
	forbidden, allowed := twoFiles(t)
	if err := os.Chmod(forbidden, 0o640); err != nil {
		t.Fatal(err)
	}
	deny := func(more string) PolicyID {
		return b.load(b.hooks("lsmhooks", `  - {hook: file_open, args: [{index: 0, resolve: f_path.dentry}, {index: 0, resolve: f_inode.i_mode}, {index: 0, type: uint64, resolve: f_inode.i_pipe.head, btfType: file}],
     selectors: [{matchArgs: [{args: [0], operator: Postfix, values: ["`+filepath.Base(filepath.Dir(forbidden))+`/`+filepath.Base(forbidden)+`"]}, `+more+`], matchActions: [{action: Override, argError: -61}]}]}
`, ""))
	}
	id := deny(`{args: [1], operator: Mask, values: ["0o40"]}`)
	// No file of a disk has a pipe: what cannot be read is a match.
	nowhere := deny(`{args: [2], operator: Equal, values: ["7"]}`)
	other := deny(`{args: [1], operator: Mask, values: ["0o7"]}`)
	for _, c := range []struct {
		id   PolicyID
		want error
	}{{id, unix.ENODATA}, {nowhere, unix.ENODATA}, {other, nil}} {
		b.apply(Member{c.id, true})
		b.opens(forbidden, c.want)
		b.opens(allowed, nil)
		b.apply()
		b.opens(forbidden, nil)
	}
}

// A call that is judged when it returns is judged by the data of its beginning, and
// text of the task is read where it is then.
func TestDataOfACallThatIsPutOff(t *testing.T) {
	b := newBench(t)
	(&rig{t: t}).pin()
	task := func(t policy.ArgType, path string) policy.Arg {
		return policy.Arg{Type: t, Source: policy.SourceTask, Resolve: path}
	}
	pid := uint64(os.Getpid())
	compiled, err := compile.Compile(&policy.Policy{Name: "p", Hooks: []policy.Hook{{
		Section: policy.Tracepoints, Subsystem: "syscalls", Event: "sys_enter_chroot",
		Args: []policy.Arg{
			{Index: 5, Type: policy.ArgString}, task(policy.ArgString, "comm"), task(policy.ArgUint32, "tgid"), task(policy.ArgUint64, "bio_list.head"),
		},
		Selectors: []policy.Selector{{
			Args: []policy.ArgFilter{strings1(policy.OpEqual, b.marker)},
			Data: []policy.ArgFilter{
				{Arg: 1, Op: policy.OpEqual, Strings: []string{comm(t)}},
				{Arg: 2, Op: policy.OpEqual, Ranges: []policy.Range{{Lo: pid, Hi: pid}}},
			},
			Actions: []policy.Action{{Kind: policy.Post}},
		}},
	}}}, b.points)
	if err != nil {
		t.Fatal(err)
	}
	id := b.load(compiled)
	b.apply(Member{id, true})
	if _, _, errno := unix.Syscall(unix.SYS_CHROOT, uintptr(faultIn(t, b.marker)), 0, 0); errno != unix.ENOENT {
		t.Fatalf("chroot: %v", errno)
	}
	e := b.event()
	if e == nil || e.AtExit != 1 {
		t.Fatalf("event %+v, want one of the call's end", e)
	}
	rule, _ := b.Resolve(e.Site, e.Version, b.policies[id].hooks[0].first)
	_, name := b.value(e, id, 1)
	if number, _ := b.value(e, id, 2); number != pid || name != comm(t) || e.Unreadable != 1<<rule.Dimensions[3] {
		t.Errorf("process %d called %q, unreadable %b; want %d, %q and dimension %d", number, name, e.Unreadable, pid, comm(t), rule.Dimensions[3])
	}
}
