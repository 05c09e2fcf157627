// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// typed is a hook with an argument of the type at index 0 and one filter on it. It
// is a tracepoint, as only those take all types.
func typed(typ, filter string) string {
	sizes := map[string]string{"char_buf": "sizeArgIndex: 1, ", "char_iovec": "sizeArgIndex: 1, ", "int32_arr": "size: 2, "}
	return wrap("  lists:\n  - {name: calls, type: syscalls, values: [sys_openat, sys_close]}\n" +
		"  - {name: functions, values: [do_exit]}\n  - {name: unknown, values: [sys_no_such]}\n" +
		"  tracepoints:\n  - {subsystem: a, event: b, args: [{index: 0, " + sizes[typ] + "type: " + typ + "}], selectors: [{matchArgs: [{index: 0, " + filter + "}]}]}\n")
}

// TestOperatorsOfTypes holds which operators arguments of a type are compared by:
// those of the list, and no other.
func TestOperatorsOfTypes(t *testing.T) {
	t.Parallel()
	const (
		integers = "Equal NotEqual GT LT GreaterThan LessThan InRange NotInRange Mask InMap NotInMap"
		texts    = "Equal NotEqual Prefix NotPrefix Postfix NotPostfix SubString SubStringIgnCase"
		files    = texts + " FileType NotFileType"
		source   = "SPort NotSPort SPortPriv NotSPortPriv NotSportPriv SAddr NotSAddr Family"
		packet   = source + " DPort NotDPort DPortPriv NotDPortPriv DAddr NotDAddr Protocol"
	)
	values := map[string]string{
		"InRange": "'1:2'", "NotInRange": "'1:2'", "SAddr": "10.0.0.1", "NotSAddr": "10.0.0.1", "DAddr": "10.0.0.1",
		"NotDAddr": "10.0.0.1", "SPortPriv": "", "NotSPortPriv": "", "NotSportPriv": "", "DPortPriv": "", "NotDPortPriv": "",
		"FileType": "reg", "NotFileType": "reg",
	}
	all := strings.Fields(integers + " Prefix NotPrefix Postfix NotPostfix SubString SubStringIgnCase FileType NotFileType State " + packet)
	of := map[string]string{
		"sock": packet + " State", "socket": packet + " State", "skb": packet, "sockaddr": source, "cred": "",
		"capability": integers, "syscall64": "Equal NotEqual InMap NotInMap", "bpf_cmd": integers,
		"sockaddr_un": texts + " Family",
	}
	for _, typ := range strings.Fields("kernel_cap_t cap_inheritable cap_permitted cap_effective") {
		of[typ] = "Equal NotEqual Mask"
	}
	for _, typ := range strings.Fields("const_buf char_iovec iov_iter int32_arr user_namespace bpf_attr bpf_prog bpf_map perf_event module load_info nop") {
		of[typ] = ""
	}
	for _, typ := range strings.Fields("int sint32 int32 sint16 int16 sint8 int8 long sint64 int64 uint32 uint16 uint8 ulong uint64 size_t") {
		of[typ] = integers
	}
	for _, typ := range strings.Fields("string char_buf filename net_device data_loc") {
		of[typ] = texts
	}
	for _, typ := range strings.Fields("file path dentry fd linux_binprm kiocb") {
		of[typ] = files
	}
	for typ := ArgAuto + 1; typ <= lastType; typ++ {
		if _, listed := of[typ.String()]; !listed {
			t.Errorf("nothing is said of %s", typ)
		}
	}
	for typ, operators := range of {
		for _, op := range all {
			value, special := values[op]
			if !special {
				value = "1"
			}
			p, err := Parse([]byte(typed(typ, "operator: "+op+", values: ["+value+"]")))
			want := slices.Contains(strings.Fields(operators), op)
			switch {
			case (err == nil) != want:
				t.Errorf("%s of %s: %v", op, typ, err)
			case want:
				checkInvariants(t, p)
			case !strings.HasSuffix(Faults(err)[0].Path, "matchArgs[0].operator") || !strings.HasSuffix(err.Error(), "of type "+typeName(typ)):
				t.Errorf("%s of %s: %v", op, typ, err)
			}
		}
	}
}

// typeName is the type's own name.
func typeName(name string) string {
	t, _ := typeNamed(name)
	return t.String()
}

// TestNamedValues holds what values of sockets, capabilities and system calls mean.
func TestNamedValues(t *testing.T) {
	t.Parallel()
	one := func(n uint64) Range { return Range{n, n} }
	negative := func(n int64) uint64 { return uint64(n) }
	for _, c := range []struct {
		typ, op, values string
		want            []Range
	}{
		{"sock", "SPort", "[80, '1024:2048', 0x51, '2049:2050', 80]", []Range{{80, 81}, {1024, 2050}}},
		{"skb", "NotDPort", "[65535, 0]", []Range{one(0), one(65535)}},
		{"sockaddr", "SPortPriv", "[]", []Range{{0, 1023}}},
		{"socket", "NotDPortPriv", "[]", []Range{{0, 1023}}},
		{"skb", "Protocol", "[IPPROTO_UDP, 6, IPPROTO_MPTCP]", []Range{one(6), one(17), one(262)}},
		{"sockaddr", "Family", "[AF_INET6, AF_UNIX, '2']", []Range{{1, 2}, one(10)}},
		{"sock", "State", "[TCP_LISTEN, TCP_NEW_SYN_RECV, TCP_ESTABLISHED, 2]", []Range{{1, 2}, one(10), one(12)}},
		{"capability", "Equal", "[CAP_SYS_ADMIN, 0, cap_bpf, 21]", []Range{one(0), one(21), one(39)}},
		{"capability", "GT", "[CAP_CHECKPOINT_RESTORE]", []Range{{41, 1<<31 - 1}}},
		{"capability", "LessThan", "[CAP_CHOWN]", []Range{{negative(-1 << 31), negative(-1)}}},
		{"capability", "NotInRange", "['CAP_KILL:CAP_SETUID']", []Range{{5, 7}}},
		{"sockaddr_un", "Family", "[AF_UNIX, 2]", []Range{{1, 2}}},
		{"cap_effective", "Equal", "['CAP_KILL,cap_chown', 0x21, CAP_NET_RAW, '0', 'CAP_CHOWN, CAP_DAC_OVERRIDE']", []Range{
			one(0), one(3), one(1<<5 | 1), one(1 << 13),
		}},
		{"kernel_cap_t", "NotEqual", "[0xffffffffffffffff]", []Range{one(1<<64 - 1)}},
		{"bpf_cmd", "InRange", "['5:6']", []Range{{5, 6}}},
		{"int", "InMap", "[1, '2:5', -1]", []Range{{negative(-1), negative(-1)}, {1, 5}}},
		{"syscall64", "Equal", "['list:calls', 0x80000001]", []Range{
			one(min(unix.SYS_CLOSE, unix.SYS_OPENAT)), one(max(unix.SYS_CLOSE, unix.SYS_OPENAT)), one(0x80000001),
		}},
	} {
		p, err := Parse([]byte(typed(c.typ, "operator: "+c.op+", values: "+c.values)))
		if err != nil {
			t.Errorf("%s of %s: %v", c.op, c.typ, err)
			continue
		}
		if diff := cmp.Diff(c.want, p.Hooks[0].Selectors[0].Args[0].Ranges); diff != "" {
			t.Errorf("%s of %s %s (-want +got):\n%s", c.op, c.typ, c.values, diff)
		}
	}
}

func TestMasks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		typ, values string
		want        []uint64
	}{
		{"int", "[2, 1, 2, -2147483648]", []uint64{1, 2, 1 << 31}},
		{"int8", "[-1, 0x80]", []uint64{0x80, 0xff}},
		{"uint64", "[0xffffffffffffffff, 0]", []uint64{0, 1<<64 - 1}},
		{"long", "[0x8000000000000000]", []uint64{1 << 63}},
		{"capability", "[CAP_KILL]", []uint64{5}},
	} {
		p, err := Parse([]byte(typed(c.typ, "operator: Mask, values: "+c.values)))
		if err != nil {
			t.Errorf("%s %s: %v", c.typ, c.values, err)
			continue
		}
		if diff := cmp.Diff(c.want, p.Hooks[0].Selectors[0].Args[0].Masks); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.typ, c.values, diff)
		}
	}
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(typed("sock", `operator: NotSAddr, values: [10.1.2.3/8, 192.168.0.1, "10.0.0.0/8", "::ffff:1.2.3.4/112", `+
		`"::ffff:5.6.7.8", "fd00::1/64", "::/0", "0.0.0.0/0", "::ffff:0:0/90"]`)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range p.Hooks[0].Selectors[0].Args[0].Prefixes {
		got = append(got, p.String())
	}
	want := []string{
		"0.0.0.0/0", "1.2.0.0/16", "5.6.7.8/32", "10.0.0.0/8", "192.168.0.1/32", "::/0", "::ffc0:0:0/90", "fd00::/64",
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("networks (-want +got):\n", diff)
	}
	if p, _ := network("::ffff:1.2.3.4"); p != netip.MustParsePrefix("1.2.3.4/32") {
		t.Errorf("mapped address: %s", p)
	}
}

func TestNamedValueFaults(t *testing.T) {
	t.Parallel()
	const values = "spec.tracepoints[0].selectors[0].matchArgs[0].values"
	for _, c := range []struct{ typ, op, value, reason string }{
		{"sock", "SPort", "65536", "outside uint16, 0 to 65535"},
		{"sock", "SPort", "-1", "outside uint16"},
		{"sock", "DPort", "'2:1'", "end is before its start"},
		{"sock", "DPort", "'1:2:3'", "is no integer"},
		{"sock", "DPort", "''", "is no integer"},
		{"skb", "DAddr", "10.0.0", "neither an address nor a CIDR"},
		{"skb", "DAddr", "10.0.0.0/33", "neither"},
		{"skb", "DAddr", "10.0.0.0/", "neither"},
		{"skb", "DAddr", "'fe80::1%eth0'", "neither"},
		{"skb", "DAddr", "'fe80::1%eth0/64'", "neither"},
		{"skb", "DAddr", "''", "neither"},
		{"skb", "DAddr", "localhost", "neither"},
		{"sock", "Protocol", "TCP", "no IPPROTO_ name"},
		{"sock", "Protocol", "AF_INET", "no IPPROTO_ name"},
		{"sock", "Protocol", "IPPROTO_BOLT", "no IPPROTO_ name"},
		{"sock", "Family", "IPPROTO_TCP", "no AF_ name"},
		{"sock", "Family", "AF_", "no AF_ name"},
		{"sock", "State", "ESTABLISHED", "no TCP_ name"},
		{"capability", "Equal", "SYS_ADMIN", "no CAP_ name"},
		{"capability", "Equal", "2147483648", "outside int32"},
		{"cap_effective", "Equal", "'CAP_KILL,KILL'", `"KILL" is neither a mask nor a CAP_ name`},
		{"cap_effective", "NotEqual", "'CAP_KILL,'", `"" is neither`},
		{"cap_inheritable", "Mask", "-1", "outside uint64"},
		{"kernel_cap_t", "Equal", "''", "neither a mask nor"},
		{"int", "Mask", "0x100000000", "outside int32"},
		{"uint8", "Mask", "-1", "outside uint8"},
		{"uint8", "InMap", "'0:256'", "outside uint8"},
		{"int", "InMap", "'list:calls'", "is no integer"},
		{"syscall64", "Equal", "sys_openat", "is no integer"},
		{"syscall64", "Equal", "'1:2'", "is no integer"},
		{"syscall64", "InMap", "'list:x'", `there is no list "x"`},
		{"syscall64", "NotInMap", "'list:functions'", `list "functions": "do_exit" is no system call`},
		{"syscall64", "NotEqual", "'list:unknown'", "is no system call of this machine whose number is known"},
	} {
		faultCase{
			text: typed(c.typ, "operator: "+c.op+", values: ["+c.value+"]"), path: values + "[0]", line: 11, reason: c.reason,
		}.check(t, fmt.Sprint(c.op, " of ", c.typ, " ", c.value))
	}
	faultCase{text: typed("sock", "operator: DPortPriv, values: [80]"), path: values, line: 11, reason: "takes no values"}.check(t, "values of DPortPriv")
}

// TestNumbers compares what is known of names with the constants of the library.
func TestNumbers(t *testing.T) {
	t.Parallel()
	amd, arm := numbers("amd64"), numbers("arm64")
	for _, c := range []struct {
		table map[string]uint64
		name  string
		want  uint64
	}{
		{amd, "sys_openat", 257}, {amd, "x64/sys_openat", 257}, {amd, "i386/sys_openat", compatCall | 295}, {amd, "sys_open", 2},
		{amd, "i386/sys_restart_syscall", compatCall}, {arm, "sys_openat", 56}, {arm, "arm64/sys_openat", 56},
		{arm, "arm32/sys_openat", compatCall | 322}, {amd, "AF_VSOCK", unix.AF_VSOCK}, {amd, "IPPROTO_SCTP", unix.IPPROTO_SCTP},
		{arm, "TCP_NEW_SYN_RECV", unix.BPF_TCP_NEW_SYN_RECV},
	} {
		if got, ok := c.table[c.name]; !ok || got != c.want {
			t.Errorf("%s is %d, %v; want %d", c.name, got, ok, c.want)
		}
	}
	for table, absent := range map[*map[string]uint64][]string{
		&amd: {"arm64/sys_openat", "arm32/sys_openat", "openat", "sys_", "AF_MAX", "TCP_MAX_STATES", "x64/sys_syscall_mask"},
		&arm: {"x64/sys_openat", "i386/sys_open", "sys_open", "arm32/sys_syscall_mask"},
	} {
		for _, name := range absent {
			if n, ok := (*table)[name]; ok {
				t.Errorf("%s is %d", name, n)
			}
		}
	}
	if n, ok := numbers(runtime.GOARCH)["sys_execve"]; !ok || n != unix.SYS_EXECVE {
		t.Errorf("sys_execve is %d, %v", n, ok)
	}
}

// TestNames holds the names that the kinds of process filters have in the language.
func TestNames(t *testing.T) {
	t.Parallel()
	for got, want := range map[fmt.Stringer]string{
		NamespaceUts: "Uts", NamespacePidForChildren: "PidForChildren", NamespaceTimeForChildren: "TimeForChildren",
		NamespaceUser: "User", Namespace(10): "Namespace(10)", CapabilityEffective: "Effective",
		CapabilityPermitted: "Permitted", CapabilitySet(3): "CapabilitySet(3)", LSMHooks: "lsmhooks", Section(9): "Section(9)",
		NotifyEnforcer: "NotifyEnforcer", ArgSyscall64: "syscall64", OpState: "State",
	} {
		if got.String() != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestCallNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"sys_open": "sys_open", "x64/sys_open": "x64/sys_open", "arm32/sys_open": "arm32/sys_open",
		"__x64_sys_open": "x64/sys_open", "__ia32_sys_open": "i386/sys_open", "__ia32_compat_sys_open": "i386/sys_open",
		"__arm64_sys_open": "arm64/sys_open", "__arm64_compat_sys_open": "arm32/sys_open",
	} {
		if got, reason := callName(text, true); got != want || reason != "" {
			t.Errorf("%s is %s, want %s (%s)", text, got, want, reason)
		}
	}
	p, err := Parse([]byte(wrap("  lists: [{name: a, values: [__ia32_sys_a, __ia32_compat_sys_a, __ia32_sys_b]}]\n" +
		"  fentries: [{call: 'list:a'}, {call: 'list:a', syscall: false}]\n")))
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{{"i386/sys_a", "i386/sys_b"}, {"__ia32_sys_a", "__ia32_compat_sys_a", "__ia32_sys_b"}}
	if diff := cmp.Diff(want, [][]string{p.Hooks[0].Calls, p.Hooks[1].Calls}); diff != "" {
		t.Error("calls of a list (-want +got):\n", diff)
	}
	for _, text := range []string{"__x64_sys_", "open", "sys_", "/sys_a", "x64/", "x64/open", "x64/sys_a/b", "SYS_open", "sys_é"} {
		if got, reason := callName(text, true); reason == "" {
			t.Errorf("%q is system call %q", text, got)
		}
	}
	for _, text := range []string{"__x64_sys_open", "do_exit.isra.0", "sys_open"} {
		if got, reason := callName(text, false); got != text || reason != "" {
			t.Errorf("%q is function %q: %s", text, got, reason)
		}
	}
}
