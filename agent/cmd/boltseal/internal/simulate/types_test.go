// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Every type of arguments has an argument of events that is of it and of no other
// but those that are told alike.
func TestTypes(t *testing.T) {
	t.Parallel()
	messages := map[string]*tetragon.KprobeArgument{}
	for name, a := range map[string]*tetragon.KprobeArgument{
		"int8 int16 int32":                       {Arg: &tetragon.KprobeArgument_IntArg{}},
		"int64":                                  {Arg: &tetragon.KprobeArgument_LongArg{}},
		"uint8 uint16 uint32":                    {Arg: &tetragon.KprobeArgument_UintArg{}},
		"uint64":                                 {Arg: &tetragon.KprobeArgument_SizeArg{}},
		"string filename data_loc":               {Arg: &tetragon.KprobeArgument_StringArg{}},
		"char_buf const_buf char_iovec iov_iter": {Arg: &tetragon.KprobeArgument_BytesArg{}},
		"char_buf const_buf char_iovec iov_iter (short)": {Arg: &tetragon.KprobeArgument_TruncatedBytesArg{}},
		"file fd kiocb":    {Arg: &tetragon.KprobeArgument_FileArg{}},
		"path dentry":      {Arg: &tetragon.KprobeArgument_PathArg{}},
		"linux_binprm":     {Arg: &tetragon.KprobeArgument_LinuxBinprmArg{}},
		"sock socket":      {Arg: &tetragon.KprobeArgument_SockArg{}},
		"sockaddr":         {Arg: &tetragon.KprobeArgument_SockaddrArg{}},
		"skb":              {Arg: &tetragon.KprobeArgument_SkbArg{}},
		"sockaddr_un":      {Arg: &tetragon.KprobeArgument_SockaddrunArg{}},
		"net_device":       {Arg: &tetragon.KprobeArgument_NetDevArg{}},
		"cred":             {Arg: &tetragon.KprobeArgument_ProcessCredentialsArg{}},
		"syscall64":        {Arg: &tetragon.KprobeArgument_SyscallId{}},
		"bpf_cmd":          {Arg: &tetragon.KprobeArgument_BpfCmdArg{}},
		"int32_arr":        {Arg: &tetragon.KprobeArgument_Int32ListArg{}},
		"user_namespace":   {Arg: &tetragon.KprobeArgument_UserNsArg{}},
		"bpf_attr":         {Arg: &tetragon.KprobeArgument_BpfAttrArg{}},
		"bpf_prog":         {Arg: &tetragon.KprobeArgument_BpfProgArg{}},
		"bpf_map":          {Arg: &tetragon.KprobeArgument_BpfMapArg{}},
		"perf_event":       {Arg: &tetragon.KprobeArgument_PerfEventArg{}},
		"module load_info": {Arg: &tetragon.KprobeArgument_ModuleArg{}},
		"kernel_cap_t":     {Arg: &tetragon.KprobeArgument_KernelCapTArg{KernelCapTArg: "f"}},
		"cap_inheritable":  {Arg: &tetragon.KprobeArgument_CapInheritableArg{CapInheritableArg: "f"}},
		"cap_permitted":    {Arg: &tetragon.KprobeArgument_CapPermittedArg{CapPermittedArg: "f"}},
		"cap_effective":    {Arg: &tetragon.KprobeArgument_CapEffectiveArg{CapEffectiveArg: "f"}},
	} {
		messages[name] = a
	}
	for k := policy.ArgInt8; !strings.HasPrefix(k.String(), "ArgType("); k++ {
		for names, a := range messages {
			if want := strings.Contains(" "+names+" ", " "+k.String()+" "); holds(a, k) != want {
				t.Errorf("%s of type %s: %v, want %v", names, k, !want, want)
			}
		}
	}
}

// What rules see of arguments of types that have values of their own.
func TestValuesOfTypes(t *testing.T) {
	t.Parallel()
	const call = `  kprobes: [{call: f, syscall: false, args: [`
	for _, tt := range []struct{ name, arg, filter, value, want string }{
		{"command", "type: bpf_cmd", `operator: Equal, values: ["5"]`, `"bpf_cmd_arg":"BPF_PROG_LOAD"`, "0 killed"},
		{"another_command", "type: bpf_cmd", `operator: Equal, values: ["0"]`, `"bpf_cmd_arg":"BPF_PROG_LOAD"`, ""},
		{"set", "type: cap_effective", `operator: Mask, values: [CAP_KILL]`, `"cap_effective_arg":"0000000000000020"`, "0 killed"},
		{"another_set", "type: cap_effective", `operator: Mask, values: [CAP_KILL]`, `"cap_effective_arg":"000000000000001f"`, ""},
		{"set_that_is_none", "type: cap_effective", `operator: Mask, values: [CAP_KILL]`, `"cap_effective_arg":"all"`, "perhaps"},
		{"set_that_was_not_read", "type: cap_effective", `operator: Mask, values: [CAP_KILL]`, ``, "0 killed"},
		{"number_that_is_not_there", "type: uint32", `operator: Equal, values: ["1"]`, ``, "perhaps"},
		{"device", "type: net_device", `operator: Prefix, values: [eth]`, `"net_dev_arg":{"name":"eth0"}`, "0 killed"},
		{"unix_path", "type: sockaddr_un", `operator: Equal, values: ["@name"]`, `"sockaddrun_arg":{"family":"AF_UNIX","path":"@name"}`, "0 killed"},
		{"unix_family", "type: sockaddr_un", `operator: Family, values: [AF_UNIX]`, `"sockaddrun_arg":{"family":"AF_UNIX","path":"/x"}`, "0 killed"},
		{"request", "type: kiocb", `operator: FileType, values: [reg]`, `"file_arg":{"path":"/x","permission":"-rw-r--r--"}`, "0 killed"},
		{"filename", "type: filename", `operator: SubString, values: [b]`, `"string_arg":"abc"`, "0 killed"},
		{"bytes", "type: char_buf, sizeArgIndex: 2", `operator: Postfix, values: [b]`, `"truncated_bytes_arg":{"bytes_arg":"YWI=","orig_size":9}`, "0 killed"},
		{"bytes_past_those_compared", "type: char_buf, sizeArgIndex: 2, maxData: true", `operator: Postfix, values: [b]`, `"bytes_arg":"` + strings.Repeat("YWFh", 1365) + `YmJi"`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := New(Options{Policies: []*compile.Policy{compiled(t, "p", call+"{index: 0, label: a, "+tt.arg+"}], selectors: [{matchArgs: [{index: 0, "+tt.filter+"}], "+killIt+"}]}]")}})
			value := tt.value
			if value != "" {
				value = "," + value
			}
			outcomes, _ := s.Event(event(t, `{"process_kprobe":{"process":{"pid":1},"function_name":"f","policy_name":"p","args":[{"label":"a"`+value+`}]}}`))
			if got := words(outcomes); got != tt.want && !(tt.want == "perhaps" && strings.HasPrefix(got, "0 killed ? argument a")) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// More bytes in events are the same value to rules.
func TestMoreBytes(t *testing.T) {
	t.Parallel()
	call := func(more, filters string) string {
		return `  kprobes: [{call: f, syscall: false, args: [{index: 0, type: char_buf, sizeArgIndex: 2` + more + `}]` + filters + `}]`
	}
	recorder := compiled(t, "recorder", call(", maxData: true", ""))
	p := compiled(t, "p", call("", `, selectors: [{matchArgs: [{index: 0, operator: Prefix, values: [a]}], `+killIt+`}]`))
	outcomes, _ := New(Options{Policies: []*compile.Policy{p}, Recorders: []*compile.Policy{recorder}}).
		Event(event(t, `{"process_kprobe":{"process":{"pid":1},"function_name":"f","policy_name":"recorder","args":[{"bytes_arg":"YQ=="}]}}`))
	if got := words(outcomes); got != "0 killed" {
		t.Error(got)
	}
}
