// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
	"github.com/boltseal/boltseal/test/testenv"
)

// Types that are pointers are also for what a path leads to, be it a pointer or the
// structure itself. Here it leads through a pointer to the members of a structure.
func TestTypesAtTheEndOfChains(t *testing.T) {
	l := newLayout(t)
	words := func(all ...uint64) (b []byte) {
		for _, w := range all {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
		return b
	}
	const set = 0x0807060504030201
	long := strings.Repeat("0123456789", 500)
	text, address := kernelMemory(t, []byte(long)), unixAddress("/run/it-not")
	name := kernelMemory(t, []byte("/a/name\x00"))
	inside := kernelMemory(t, append(words(
		kernelMemory(t, words(set)), set, 0, text, kernelMemory(t, address), kernelMemory(t, words(text+1, 2, text+5, 3)),
		kernelMemory(t, words(7|9<<32)), 5|11<<32,
		kernelMemory(t, l.of("filename", map[string]any{"name": name})),
		kernelMemory(t, l.of("user_namespace", map[string]any{"level": uint64(2), "owner": uint64(1000), "group": uint64(1001)})),
	), address...))
	start := kernelMemory(t, words(0, inside))
	at := func(typ policy.ArgType, path string) policy.Arg {
		return policy.Arg{Type: typ, Resolve: path, BTFType: "it"}
	}
	members := map[string]compile.Member{}
	member := func(path string, inline bool, bytes int, offset uint32, begins ...string) {
		members["it "+path] = compile.Member{
			Param: compile.Param{Name: path}, Inline: inline, Bytes: bytes, Begins: begins, Offsets: []uint32{8, offset},
		}
	}
	for i, path := range []string{"set pointer", "set inside", "null", "text", "address pointer", "vectors", "array pointer", "array inside", "filename", "ns"} {
		begins := map[string][]string{"address pointer": {"sockaddr"}, "set inside": {"kernel_cap_t"}}[path]
		member(path, strings.HasSuffix(path, "inside"), 8, uint32(8*i), begins...)
	}
	member("address inside", true, 128, 80, "sockaddr_un")
	sized := func(a policy.Arg) policy.Arg { a.SizeArg = 2; return a }
	elements := func(a policy.Arg) policy.Arg { a.Elements = 2; return a }
	rest := sized(at(policy.ArgCharBuf, "text"))
	rest.MaxData = true
	word := func(want uint64, unreadable uint32) func(*siteEvent) string {
		return func(e *siteEvent) string {
			if e.Regs[0] != want || e.Unreadable != unreadable {
				return fmt.Sprintf("%#x, unreadable %b; want %#x, %b", e.Regs[0], e.Unreadable, want, unreadable)
			}
			return ""
		}
	}
	unreadable := func(e *siteEvent) string {
		if e.Unreadable != 1 || e.StringLen[0] != uint32(bpf.WireStringStatusSTRING_UNREADABLE) || e.Mode[0] != 0 {
			return fmt.Sprintf("%q with %d, unreadable %b", e.strings[0], e.Mode[0], e.Unreadable)
		}
		return ""
	}
	for _, c := range []struct {
		name   string
		arg    policy.Arg
		number uint64
		wrong  func(*siteEvent) string
	}{
		{"set at a pointer", at(policy.ArgCapEffective, "set pointer"), 0, word(set, 0)},
		{"set itself", at(policy.ArgCapPermitted, "set inside"), 0, word(set, 0)},
		{"set at no pointer", at(policy.ArgKernelCap, "null"), 0, word(0, 1)},
		{"bytes", sized(at(policy.ArgCharBuf, "text")), 7, textIs("0123456", 7)},
		{"bytes that are cut", sized(at(policy.ArgCharBuf, "text")), 5000, textIs(long[:4095], 5000)},
		{"bytes and their rest", rest, 5000, func(e *siteEvent) string {
			if got := e.strings[0] + e.rest; got != long {
				return fmt.Sprintf("%d bytes", len(got))
			}
			return ""
		}},
		{"vectors", sized(at(policy.ArgIovec, "vectors")), 2, textIs("12567", 5)},
		{"address at a pointer", at(policy.ArgSockaddrUn, "address pointer"), 0, textIs("/run/it-not", unix.AF_UNIX)},
		{"address with its length", sized(at(policy.ArgSockaddrUn, "address inside")), 2 + uint64(len("/run/it")), textIs("/run/it", unix.AF_UNIX)},
		{"array at a pointer", elements(at(policy.ArgInt32Array, "array pointer")), 0, textIs("\x07\x00\x00\x00\x09\x00\x00\x00", 0)},
		{"array itself", elements(at(policy.ArgInt32Array, "array inside")), 0, textIs("\x05\x00\x00\x00\x0b\x00\x00\x00", 0)},
		{"name", at(policy.ArgFilename, "filename"), 0, textIs("/a/name", 0)},
		{"structure", at(policy.ArgUserNamespace, "ns"), 0, structureIs(bpf.WireUserNsInfo{Level: 2, Owner: 1000, Group: 1001})},
	} {
		t.Run(c.name, func(t *testing.T) {
			if wrong := c.wrong(showMembers(t, members, []policy.Arg{c.arg}, start, c.number)); wrong != "" {
				t.Error(wrong)
			}
			nowhere := unreadable
			if c.arg.Type.CapabilitySet() {
				nowhere = word(0, 1)
			}
			if c.arg.Type == policy.ArgCharBuf {
				return // its length is known all the same
			}
			if wrong := nowhere(showMembers(t, members, []policy.Arg{c.arg}, 0, c.number)); wrong != "" {
				t.Errorf("where the path leads nowhere: %s", wrong)
			}
		})
	}
}

// The kernel's own structures say what the sets of a task are, and two of them are
// compared.
func TestCapabilitiesOfTasks(t *testing.T) {
	b := newBench(t)
	program, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(testenv.Dir(t), "name")
	if err := os.Symlink(program, name); err != nil {
		t.Fatal(err)
	}
	about := func(filter string) PolicyID {
		return b.load(b.policy(`  - {subsystem: sched, event: sched_process_exec, raw: true,
     args: [{index: 0, resolve: cred.cap_effective}, {index: 0, type: cap_inheritable, resolve: cred.cap_inheritable}, {index: 0, resolve: cred.user_ns}, {index: 2, resolve: filename}],
     selectors: [{matchArgs: [{args: [3], operator: Equal, values: ["` + name + `"]}, ` + filter + `]}]}
`))
	}
	filters := map[string]uint64{
		`{args: [0, 1], operator: CapabilitiesGained}`:                               1,
		`{args: [1, 0], operator: CapabilitiesGained}`:                               0,
		`{args: [0, 1], operator: CapabilitiesGained, values: [CAP_SETUID]}`:         1,
		`{args: [0], operator: Mask, values: ["CAP_SETUID,CAP_CHECKPOINT_RESTORE"]}`: 1,
		`{args: [1], operator: Equal, values: ["0"]}`:                                1,
		`{args: [1], operator: NotEqual, values: ["0"]}`:                             0,
	}
	ids := map[string]PolicyID{}
	var set []Member
	for filter := range filters {
		ids[filter] = about(filter)
		set = append(set, Member{ids[filter], true})
	}
	b.apply(set...)
	if err := exec.CommandContext(t.Context(), name).Run(); err != nil {
		t.Fatal(err)
	}
	for filter, want := range filters {
		if got := b.counters(ids[filter]).Post; got != want {
			t.Errorf("%s matched %d times, want %d", filter, got, want)
		}
	}
	e := b.event()
	if e == nil {
		t.Fatal("no event")
	}
	id := ids[`{args: [0, 1], operator: CapabilitiesGained}`]
	effective, _ := b.value(e, id, 0)
	_, raw := b.value(e, id, 2)
	var ns bpf.WireUserNsInfo
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/user", &st); err != nil {
		t.Fatal(err)
	}
	if _, err := binary.Decode([]byte(raw), binary.LittleEndian, &ns); err != nil || uint64(ns.Inum) != st.Ino {
		t.Errorf("user namespace %+v, %v; want %d", ns, err, st.Ino)
	}
	if want := (&rig{t: t}).process().Capabilities[policy.CapabilityEffective]; effective != want {
		t.Errorf("effective capabilities %#x, want %#x", effective, want)
	}
}

// A call that is judged when it returns has the numbers of its beginning, also of what
// could be read then.
func TestNumbersOfACallThatIsPutOff(t *testing.T) {
	// Paths without a directory's descriptor need none: there is room for a number.
	link := func(number int, second unsafe.Pointer) func(t *testing.T) {
		return func(t *testing.T) {
			path := faultIn(t, "/no/such/file/"+t.Name())
			_, _, errno := unix.Syscall6(unix.SYS_LINKAT, uintptr(number), uintptr(path), ^uintptr(0), uintptr(second), 0, 0)
			if errno != unix.ENOENT {
				t.Errorf("linkat: %v", errno)
			}
		}
	}
	atExit := func(wrong func(*siteEvent) string) func(*siteEvent) string {
		return func(e *siteEvent) string {
			// The text is the first of the strings.
			second := &siteEvent{strings: e.strings[1:], WireEventSite: e.WireEventSite}
			copy(second.Mode[:], e.Mode[1:])
			if e.AtExit != 1 {
				return "judged as the call began"
			}
			return wrong(second)
		}
	}
	parts := []string{"ab", "cde", "not this"}
	vectors := make([]unix.Iovec, len(parts))
	for i := range parts {
		vectors[i].Base = unsafe.StringData(parts[i])
		vectors[i].SetLen(len(parts[i]))
	}
	address := unixAddress("/run/it-not")
	text := policy.Arg{Index: 1, Type: policy.ArgString}
	for _, c := range []valueTest{
		{
			name: "vectors", hook: callOf("linkat", text, policy.Arg{Index: 3, Type: policy.ArgIovec, SizeArg: 1}),
			act: link(2, unsafe.Pointer(&vectors[0])), wrong: atExit(textIs("abcde", 5)),
		},
		{
			name: "address", hook: callOf("linkat", text, policy.Arg{Index: 3, Type: policy.ArgSockaddrUn, SizeArg: 1}),
			act: link(2+len("/run/it"), unsafe.Pointer(&address[0])), wrong: atExit(textIs("/run/it", unix.AF_UNIX)),
		},
		{
			name: "bytes", hook: callOf("linkat", text, policy.Arg{Index: 3, Type: policy.ArgCharBuf, SizeArg: 1}),
			act: link(5, unsafe.Pointer(&address[2])), wrong: atExit(textIs("/run/", 5)),
		},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newBench(t)) })
	}
}
