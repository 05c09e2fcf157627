// SPDX-License-Identifier: Apache-2.0

package simulate

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// argument is the value that filters compare of an argument; ok is false when it
// is of another type, or does not tell the value. It is nothing for what no filter compares.
func argument(a *tetragon.KprobeArgument, t policy.ArgType) (v compile.Value, ok bool) {
	switch {
	case t.Text():
		return text(a, t)
	case t.Word():
		return word(a, t)
	case t.Socket():
		_, isOne := socketOf(a, t)
		return v, isOne
	}
	return v, object(a, t)
}

// unreadable tells whether the kernel reads a value that it can fail to read: in an
// event such an argument keeps its place, and has no value.
func unreadable(t policy.ArgType, read compile.Read) bool {
	return !t.Word() || t.CapabilitySet() || read.Chain != compile.Chain{}
}

// word is the value of an argument that is one number.
func word(a *tetragon.KprobeArgument, t policy.ArgType) (v compile.Value, ok bool) {
	switch arg := a.GetArg().(type) {
	case *tetragon.KprobeArgument_CapabilityArg:
		n := arg.CapabilityArg.GetValue()
		return compile.Value{Number: uint64(int64(n.GetValue()))}, t == policy.ArgCapability && n != nil
	case *tetragon.KprobeArgument_SyscallId:
		n := arg.SyscallId.GetId()
		if abi := arg.SyscallId.GetAbi(); abi == "i386" || abi == "arm32" {
			n |= uint32(bpf.WireSyscallAbiSYSCALL_COMPAT)
		}
		return compile.Value{Number: uint64(n)}, t == policy.ArgSyscall64
	case *tetragon.KprobeArgument_BpfCmdArg:
		return compile.Value{Number: uint64(int64(arg.BpfCmdArg))}, t == policy.ArgBPFCmd
	case *tetragon.KprobeArgument_KernelCapTArg:
		return set(arg.KernelCapTArg, t == policy.ArgKernelCap)
	case *tetragon.KprobeArgument_CapInheritableArg:
		return set(arg.CapInheritableArg, t == policy.ArgCapInheritable)
	case *tetragon.KprobeArgument_CapPermittedArg:
		return set(arg.CapPermittedArg, t == policy.ArgCapPermitted)
	case *tetragon.KprobeArgument_CapEffectiveArg:
		return set(arg.CapEffectiveArg, t == policy.ArgCapEffective)
	}
	return integer(a, t)
}

// set is a set of capabilities, in hexadecimal digits.
func set(digits string, isOne bool) (v compile.Value, ok bool) {
	n, err := strconv.ParseUint(digits, 16, 64)
	return compile.Value{Number: n}, isOne && err == nil
}

// object tells whether an argument is of a type that no filter compares.
func object(a *tetragon.KprobeArgument, t policy.ArgType) bool {
	switch a.GetArg().(type) {
	case *tetragon.KprobeArgument_BytesArg, *tetragon.KprobeArgument_TruncatedBytesArg:
		return t == policy.ArgConstBuf || t == policy.ArgIovec || t == policy.ArgIovIter
	case *tetragon.KprobeArgument_Int32ListArg:
		return t == policy.ArgInt32Array
	case *tetragon.KprobeArgument_ProcessCredentialsArg:
		return t == policy.ArgCred
	case *tetragon.KprobeArgument_UserNsArg:
		return t == policy.ArgUserNamespace
	case *tetragon.KprobeArgument_BpfAttrArg:
		return t == policy.ArgBPFAttr
	case *tetragon.KprobeArgument_BpfProgArg:
		return t == policy.ArgBPFProg
	case *tetragon.KprobeArgument_BpfMapArg:
		return t == policy.ArgBPFMap
	case *tetragon.KprobeArgument_PerfEventArg:
		return t == policy.ArgPerfEvent
	case *tetragon.KprobeArgument_ModuleArg:
		return t == policy.ArgModule || t == policy.ArgLoadInfo
	}
	return false
}

// text is the value of an argument that is compared as text.
func text(a *tetragon.KprobeArgument, t policy.ArgType) (v compile.Value, ok bool) {
	flags, permission := "", ""
	switch arg := a.GetArg().(type) {
	case *tetragon.KprobeArgument_StringArg:
		v.String, ok = arg.StringArg, t == policy.ArgString || t == policy.ArgFilename || t == policy.ArgDataLoc
	case *tetragon.KprobeArgument_BytesArg:
		return leading(arg.BytesArg), t == policy.ArgCharBuf
	case *tetragon.KprobeArgument_TruncatedBytesArg:
		return leading(arg.TruncatedBytesArg.GetBytesArg()), t == policy.ArgCharBuf
	case *tetragon.KprobeArgument_NetDevArg:
		v.String, ok = arg.NetDevArg.GetName(), t == policy.ArgNetDevice
	case *tetragon.KprobeArgument_SockaddrunArg:
		v.String, ok = arg.SockaddrunArg.GetPath(), t == policy.ArgSockaddrUn
	case *tetragon.KprobeArgument_FileArg:
		v.String, flags, permission = arg.FileArg.GetPath(), arg.FileArg.GetFlags(), arg.FileArg.GetPermission()
		ok = t == policy.ArgFile || t == policy.ArgFD || t == policy.ArgKiocb
	case *tetragon.KprobeArgument_PathArg:
		v.String, flags, permission = arg.PathArg.GetPath(), arg.PathArg.GetFlags(), arg.PathArg.GetPermission()
		ok = t == policy.ArgPath || t == policy.ArgDentry
	case *tetragon.KprobeArgument_LinuxBinprmArg:
		v.String, flags, permission = arg.LinuxBinprmArg.GetPath(), arg.LinuxBinprmArg.GetFlags(), arg.LinuxBinprmArg.GetPermission()
		ok = t == policy.ArgBinprm
	}
	v.Mode = mode(permission, v.String)
	if flags != "" {
		v.String, v.Unreadable = "", true // the kernel compared no path either
	}
	return v, ok
}

// leading is the bytes that rules compare, as they are.
func leading(all []byte) compile.Value {
	return compile.Value{String: string(all[:min(len(all), int(bpf.WireLimitsSTRING_MAX)-1)])}
}

// mode is that of a file by what ls writes of it, without the permissions; 0 where
// that does not tell it.
func mode(permission, path string) uint32 {
	const regular = "-"
	letter := permission[:min(len(permission), 1)]
	if letter == regular && (path == "/" || !strings.HasPrefix(path, "/")) {
		return 0 // the kernel's own, which can be of no type: that is written so too
	}
	return map[string]uint32{
		"p": unix.S_IFIFO, "c": unix.S_IFCHR, "d": unix.S_IFDIR, "b": unix.S_IFBLK, regular: unix.S_IFREG,
		"l": unix.S_IFLNK, "s": unix.S_IFSOCK,
	}[letter]
}

// exact tells whether text is what the kernel saw: what is no UTF-8 is replaced
// in events.
func exact(s string) bool { return !strings.ContainsRune(s, utf8.RuneError) }

func integer(a *tetragon.KprobeArgument, t policy.ArgType) (v compile.Value, ok bool) {
	switch arg := a.GetArg().(type) {
	case *tetragon.KprobeArgument_IntArg:
		return compile.Value{Number: uint64(int64(arg.IntArg))}, t.Signed() && t.Size() < 8 && t != policy.ArgBPFCmd
	case *tetragon.KprobeArgument_LongArg:
		return compile.Value{Number: uint64(arg.LongArg)}, t == policy.ArgInt64
	case *tetragon.KprobeArgument_UintArg:
		return compile.Value{Number: uint64(arg.UintArg)}, t.Integer() && !t.Signed() && t.Size() < 8
	case *tetragon.KprobeArgument_SizeArg:
		return compile.Value{Number: arg.SizeArg}, t == policy.ArgUint64
	}
	return v, false
}
