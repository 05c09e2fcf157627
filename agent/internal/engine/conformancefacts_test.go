// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/agent/internal/policy/compile/compiletest"
	"github.com/boltseal/boltseal/agent/internal/policy/conformance"
	"github.com/boltseal/boltseal/test/testenv"
)

// sample is an argument of an event: one or two words, and what is there.
type sample struct {
	words []uint64
	conformance.Facts
	// extra is what the item of args needs besides index and type.
	extra string
	// pair: the second word is an argument as the first one is, with Old.
	pair bool
	// field is what the record of a tracepoint has; located: its first word says where in
	// the record the others are.
	field   compile.Field
	located bool
	// param is what the kernel says of the argument, where the policy does not.
	param compile.Param
	// other is a sample with other ports, of what has some.
	other *sample
}

// samples makes samples of types: structures of this process that the kernel really
// has, or such that are made up in the kernel's memory.
type samples struct {
	t *testing.T
	layout
	// file is a file of this process, at an address of the kernel.
	file           *os.File
	path           string
	fileAt, credAt uint64
	made           map[string]sample
	keep           []any
}

func newSamples(t *testing.T) *samples {
	t.Helper()
	s := &samples{t: t, layout: newLayout(t), made: map[string]sample{}}
	s.path = filepath.Join(testenv.Dir(t), "Conformance-file.txt")
	var err error
	if s.file, err = os.Create(s.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.file.Close() })
	fd := func(n int) string { return fmt.Sprintf("files.fdt.fd[%d]", n) }
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "conformance", Type: ebpf.Hash, KeySize: 5, ValueSize: 7, MaxEntries: 9})
	if err != nil {
		t.Fatal(err)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "conformance", Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = m.Close(), p.Close() })
	file := fd(int(s.file.Fd()))
	at := addressesInTask(t, file, file+".f_path.dentry", "cred", "cred.user_ns", fd(m.FD())+".private_data", fd(p.FD())+".private_data")
	s.fileAt, s.credAt = at[0], at[2]
	for i, name := range []string{"user_namespace", "bpf_map", "bpf_prog"} {
		s.made[name] = sample{words: at[3+i : 4+i]}
	}
	s.numbers()
	s.sets()
	s.texts()
	s.records()
	s.files(at[1])
	s.sockets()
	s.unixSockets()
	s.vectors()
	s.structures()
	return s
}

// of is the sample of a type; false where the kernel lacks the structure, and the table
// says what shows it elsewhere.
func (s *samples) of(typ conformance.Type) (made sample, ok bool) {
	s.t.Helper()
	made, ok = s.made[typ.String()]
	if !ok && len(typ.Shown) == 0 {
		s.t.Fatalf("there is no sample of %s", typ)
	}
	return made, ok
}

func (s *samples) numbers() {
	for name, bits := range map[string]int{
		"int": 32, "sint32": 32, "int32": 32, "sint16": 16, "int16": 16, "sint8": 8, "int8": 8, "long": 64, "sint64": 64, "int64": 64,
		"uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64, "ulong": 64, "size_t": 64,
	} {
		// What is above the number's bits is none of it.
		rest := ^uint64(0) << (bits - 1) << 1 & 0x1234_5678_9abc_def0
		switch name[0] {
		case 'u':
			n := uint64(0xd6) << (bits - 8)
			s.made[name] = sample{words: []uint64{n | rest}, Facts: conformance.Facts{Number: n, Bits: bits}}
		default:
			n := ^uint64(41)
			s.made[name] = sample{words: []uint64{n<<(64-bits)>>(64-bits) | rest}, Facts: conformance.Facts{Number: n, Bits: bits, Signed: true}}
		}
	}
	for _, name := range []string{"uint64", "ulong", "size_t"} {
		const set, old = 0xd6 << 56, 0x10 << 56
		s.made[name] = sample{words: []uint64{set, old}, Facts: conformance.Facts{Number: set, Old: old, Bits: 64}, pair: true}
	}
	s.made["capability"] = sample{words: []uint64{unix.CAP_SYS_PACCT}, Facts: conformance.Facts{Number: unix.CAP_SYS_PACCT, Bits: 32, Signed: true}}
	s.made["bpf_cmd"] = sample{words: []uint64{unix.BPF_PROG_DETACH}, Facts: conformance.Facts{Number: unix.BPF_PROG_DETACH, Bits: 32, Signed: true}}
	s.made["syscall64 (record)"] = sample{
		words: []uint64{unix.SYS_CHROOT}, Facts: conformance.Facts{Number: unix.SYS_CHROOT}, field: compile.Field{Type: "long", Size: 8, Signed: true},
	}
	s.made["nop"] = sample{words: []uint64{1}}
}

// sets makes samples of sets of capabilities, which are behind pointers.
func (s *samples) sets() {
	const set, old = 0xd6 << 32, 0x10 << 32
	pointer := func(set uint64) uint64 { return s.kernel(binary.LittleEndian.AppendUint64(nil, set)) }
	for _, name := range []string{"kernel_cap_t", "cap_inheritable", "cap_permitted", "cap_effective"} {
		s.made[name] = sample{words: []uint64{pointer(set), pointer(old)}, Facts: conformance.Facts{Number: set, Old: old, Bits: 64}, pair: true}
	}
}

// user is text in the memory of this process.
func (s *samples) user(text []byte) uint64 {
	s.keep = append(s.keep, text)
	return uint64(uintptr(unsafe.Pointer(&text[0])))
}

func (s *samples) kernel(content []byte) uint64 { return kernelMemory(s.t, content) }

func (s *samples) texts() {
	const text = "/a/Text-of-some-bytes"
	facts := conformance.Facts{Text: text}
	n := uint64(len(text))
	s.made["string"] = sample{words: []uint64{s.kernel([]byte(text + "\x00"))}, Facts: facts}
	s.made["string (call)"] = sample{words: []uint64{s.user([]byte(text + "\x00"))}, Facts: facts}
	size := "sizeArgIndex: $SIZE"
	s.made["char_buf"] = sample{words: []uint64{s.kernel([]byte(text + "more")), n}, Facts: facts, extra: size}
	s.made["filename"] = sample{words: []uint64{s.kernel(s.layout.of("filename", map[string]any{"name": s.kernel([]byte(text + "\x00"))}))}, Facts: facts}
	s.made["char_buf (call)"] = sample{words: []uint64{s.user([]byte(text + "more")), n}, Facts: facts, extra: size}
}

// records makes samples of what is in records themselves.
func (s *samples) records() {
	const text = "/a/Text-of-rec"
	content := []byte(text + "\x00\x00")
	words := []uint64{binary.LittleEndian.Uint64(content), binary.LittleEndian.Uint64(content[8:])}
	array := compile.Field{Type: "char", Size: 16, Array: 16}
	facts := conformance.Facts{Text: text}
	s.made["string (record)"] = sample{words: words, Facts: facts, field: array}
	s.made["const_buf (record)"] = sample{words: words, field: array}
	s.made["data_loc (record)"] = sample{
		words: append([]uint64{uint64(len(text)+1) << 16}, words...), Facts: facts, located: true,
		field: compile.Field{Type: "char", Size: 4, DataLoc: true, Array: -1},
	}
}

func (s *samples) files(dentry uint64) {
	facts := conformance.Facts{Text: s.path, FileType: "reg"}
	s.made["file"] = sample{words: []uint64{s.fileAt}, Facts: facts}
	s.made["auto"] = sample{words: []uint64{s.fileAt}, Facts: facts, param: compile.Param{Name: "file", Struct: "file"}}
	s.made["path"] = sample{words: []uint64{s.fileAt + s.offset("file", "f_path")}, Facts: facts}
	inMount := facts
	inMount.Text = s.dentryPath()
	s.made["dentry"] = sample{words: []uint64{dentry}, Facts: inMount}
	s.made["fd (call)"] = sample{words: []uint64{uint64(s.file.Fd())}, Facts: facts}
	s.made["linux_binprm"] = sample{words: []uint64{s.kernel(s.layout.of("linux_binprm", map[string]any{"file": s.fileAt}))}, Facts: facts}
	s.made["kiocb"] = sample{words: []uint64{s.kernel(s.layout.of("kiocb", map[string]any{"ki_filp": s.fileAt}))}, Facts: facts}
	s.made["cred"] = sample{words: []uint64{s.credAt}}
}

// dentryPath is the path of the file from the root of its file system.
func (s *samples) dentryPath() string {
	s.t.Helper()
	var here unix.Stat_t
	dir := filepath.Dir(s.path)
	if err := unix.Stat(dir, &here); err != nil {
		s.t.Fatal(err)
	}
	// The mount point is the highest directory of the same device.
	for dir != "/" {
		var up unix.Stat_t
		if err := unix.Stat(filepath.Dir(dir), &up); err != nil {
			s.t.Fatal(err)
		}
		if up.Dev != here.Dev {
			break
		}
		dir = filepath.Dir(dir)
	}
	path, err := filepath.Rel(dir, s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	return "/" + path
}

// offset is where in a structure a member is.
func (s *samples) offset(structure, member string) uint64 {
	s.t.Helper()
	var of *btf.Struct
	if err := s.types.TypeByName(structure, &of); err != nil {
		s.t.Fatal(err)
	}
	at, _, ok := find(of.Members, member)
	if !ok {
		s.t.Fatalf("%s has no %s", structure, member)
	}
	return uint64(at)
}

// sockets makes samples of addresses, from a port for the privileged and to another,
// and the other way around.
func (s *samples) sockets() {
	facts := conformance.Facts{
		Source: netip.MustParseAddrPort("10.1.2.3:443"), Target: netip.MustParseAddrPort("10.9.8.7:8443"),
		Protocol: unix.IPPROTO_TCP, Family: unix.AF_INET, State: unix.BPF_TCP_ESTABLISHED,
	}
	back := facts
	back.Source, back.Target = facts.Target, facts.Source
	there, other := s.socketsOf(facts), s.socketsOf(back)
	for name, word := range there {
		s.made[name] = sample{words: []uint64{word}, Facts: facts, other: &sample{words: []uint64{other[name]}, Facts: back}}
	}
}

// socketsOf makes up a structure of each type that has addresses.
func (s *samples) socketsOf(facts conformance.Facts) map[string]uint64 {
	source, target := facts.Source.Addr().As4(), facts.Target.Addr().As4()
	swapped := func(port uint16) uint64 { return uint64(port>>8 | port<<8) }
	common := s.layout.of("sock_common", map[string]any{
		"skc_family": uint64(facts.Family), "skc_state": uint64(facts.State), "skc_num": uint64(facts.Source.Port()),
		"skc_dport": swapped(facts.Target.Port()), "skc_rcv_saddr": source[:], "skc_daddr": target[:],
	})
	sock := s.kernel(s.layout.of("sock", map[string]any{"__sk_common": common, "sk_protocol": uint64(facts.Protocol), "sk_type": uint64(unix.SOCK_STREAM)}))

	packet := make([]byte, 64)
	packet[0], packet[9] = 0x45, byte(facts.Protocol)
	copy(packet[12:], source[:])
	copy(packet[16:], target[:])
	binary.BigEndian.PutUint16(packet[20:], facts.Source.Port())
	binary.BigEndian.PutUint16(packet[22:], facts.Target.Port())
	const ipv4 = 0x0800
	skb := s.kernel(s.layout.of("sk_buff", map[string]any{
		"head": s.kernel(packet), "network_header": uint64(0), "transport_header": uint64(20), "protocol": swapped(ipv4), "len": uint64(40),
	}))

	address := make([]byte, 16)
	binary.LittleEndian.PutUint16(address, facts.Family)
	binary.BigEndian.PutUint16(address[2:], facts.Source.Port())
	copy(address[4:], source[:])
	return map[string]uint64{
		"sock": sock, "socket": s.kernel(s.layout.of("socket", map[string]any{"sk": sock})), "skb": skb,
		"sockaddr": s.kernel(address), "sockaddr (call)": s.user(address),
	}
}

// unixSockets makes samples of addresses of unix sockets, and of a network device.
func (s *samples) unixSockets() {
	const path = "/run/A-socket"
	facts := conformance.Facts{Text: path, Family: unix.AF_UNIX}
	s.made["sockaddr_un"] = sample{words: []uint64{s.kernel(unixAddress(path))}, Facts: facts}
	s.made["sockaddr_un (call)"] = sample{words: []uint64{s.user(unixAddress(path))}, Facts: facts}
	const device = "Net-device0"
	s.made["net_device"] = sample{words: []uint64{s.kernel(s.layout.of("net_device", map[string]any{"name": device}))}, Facts: conformance.Facts{Text: device}}
}

// vectors makes samples of bytes and numbers that others lead to.
func (s *samples) vectors() {
	bytes := []byte("some bytes")
	n := uint64(len(bytes))
	vector := s.user(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, s.user(bytes)), n))
	const size = "sizeArgIndex: $SIZE"
	s.made["char_iovec"] = sample{words: []uint64{vector, 1}, extra: size}
	s.made["char_iovec (call)"] = s.made["char_iovec"]
	kind, _ := s.layout.enum("iter_type", "ITER_IOVEC")
	s.made["iov_iter"] = sample{words: []uint64{s.kernel(s.layout.of("iov_iter", map[string]any{
		"iter_type": kind, "type": kind | 1, "__iov": vector, "iov": vector, "nr_segs": uint64(1), "count": n,
	}))}}
	s.made["int32_arr"] = sample{words: []uint64{s.user(make([]byte, 8))}, extra: "size: 2"}
	s.made["int32_arr (call)"] = s.made["int32_arr"]
}

// structures makes samples of structures that nothing is compared in.
func (s *samples) structures() {
	made := func(typ, structure string, members map[string]any) {
		var of *btf.Struct
		if err := s.types.TypeByName(structure, &of); err != nil {
			return
		}
		s.made[typ] = sample{words: []uint64{s.kernel(s.layout.of(structure, members))}}
	}
	attr := s.layout.of("perf_event_attr", map[string]any{"type": uint64(unix.PERF_TYPE_SOFTWARE), "config": uint64(unix.PERF_COUNT_SW_DUMMY)})
	made("perf_event", "perf_event", map[string]any{"attr": attr})
	made("module", "module", map[string]any{"name": "conformance"})
	made("load_info", "load_info", map[string]any{"name": s.kernel([]byte("conformance\x00"))})
	load := make([]byte, 128)
	load[0], load[4] = byte(ebpf.SocketFilter), 2
	s.made["bpf_attr"] = sample{words: []uint64{s.kernel(load)}}
	s.made["bpf_attr (call)"] = sample{words: []uint64{s.user(load)}}
}

// addressesInTask are pointers of the kernel, by paths from the task of this thread,
// which keeps its processor from here on.
func addressesInTask(t *testing.T, paths ...string) (addresses []uint64) {
	t.Helper()
	k := compiletest.Kernel{Members: map[string]compile.Member{}}
	h := policy.Hook{
		Section: policy.Tracepoints, Subsystem: compiletest.Subsystem, Event: compiletest.Event,
		Selectors: []policy.Selector{{Actions: []policy.Action{{Kind: policy.Post}}}},
	}
	for _, path := range paths {
		k.Members[policy.TaskStruct+" "+path] = memberOfTask(t, path)
		h.Args = append(h.Args, policy.Arg{Type: policy.ArgUint64, Source: policy.SourceTask, Resolve: path})
	}
	source := compiletest.NewData(1, compiletest.Data{Kernel: k})
	compiled := compileFor(t, k, h)
	r := newRigOf(t, source, &compiled.Hooks[0])
	id, err := r.Load(compiled)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply([]Assignment{{Slots: []uint32{0}, Set: []Member{{id, true}}}}, true); err != nil {
		t.Fatal(err)
	}
	r.run(source.Record(r.binary))
	e := r.event()
	if e == nil {
		t.Fatal("no event")
	}
	rule, ok := r.Resolve(e.Site, e.Version, 0)
	if !ok {
		t.Fatal("nobody knows the event")
	}
	for i, path := range paths {
		at := e.Regs[rule.Dimensions[i]]
		if int64(at) >= 0 {
			t.Fatalf("%s is at %#x", path, at)
		}
		addresses = append(addresses, at)
	}
	return addresses
}
