// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/bpf"
)

// Read is where a site's program has one value from. Two arguments or filters
// with equal reads are one dimension.
type Read struct {
	// Kind is what is read.
	Kind bpf.WireReadKind
	// Offset is where in the context the word is, in bytes. For a part of a socket
	// it is that of the socket's read, and for what is asked of the process it says
	// which namespace or set of capabilities.
	Offset uint16
	// Size is that of the word in bytes; for characters and bytes in the record the
	// most that there can be; for an array the number of its bytes; for bytes,
	// vectors and a unix address at a pointer the offset of the word with their
	// number, or SIZE_UNKNOWN; for a part of a socket the kind of the socket's read,
	// for one of a unix address the size of its read.
	Size   uint16
	Signed bool
	// Chain leads to the word where it is not in the context itself. The context then
	// has at Offset what the chain begins with.
	Chain Chain
	// Rest: bytes that there is no room for are sent apart.
	Rest bool
	// When it is read: what is not read as the site is entered is judged when the
	// call returns. Of READ_RESULT there is no Offset.
	When bpf.WireReadWhen
	// Copy tells reads of the same value apart, where a rule asks for it more often
	// than one dimension can answer.
	Copy uint8
	// From is what the read is computed from; nil for one that is of itself.
	From Computation
}

// Text tells whether filters compare what is read as text.
func (r Read) Text() bool {
	return r.Kind > bpf.WireReadKindREAD_INT && r.Kind <= bpf.WireReadKindREAD_BINARY ||
		r.Kind == bpf.WireReadKindREAD_PARENT_BINARY || r.Kind == bpf.WireReadKindREAD_PARENT_BINARY_PATH ||
		r.Kind >= bpf.WireReadKindREAD_FILENAME && r.Kind < bpf.WireReadKindREAD_RECORD_BYTES
}

// Buffer tells whether what is read takes one of the site's buffers, of which
// there are MaxStrings.
func (r Read) Buffer() bool {
	if r.Kind >= bpf.WireReadKindREAD_FILENAME {
		return r.Kind <= bpf.WireReadKindREAD_LOAD_INFO
	}
	return r.Kind > bpf.WireReadKindREAD_INT && r.Kind < bpf.WireReadKindREAD_SOURCE_ADDRESS &&
		r.Kind != bpf.WireReadKindREAD_BINARY || r.Kind == bpf.WireReadKindREAD_PARENT_BINARY_PATH
}

// Returned tells whether it is read when the call returns.
func (r Read) Returned() bool { return r.When != bpf.WireReadWhenREAD_WHEN_ENTERED }

// User tells whether what is read at the entry is in the memory of the process.
func (r Read) User() bool {
	if r.Returned() {
		return false
	}
	switch r.Kind {
	case bpf.WireReadKindREAD_USER_STRING, bpf.WireReadKindREAD_USER_SOCKADDR, bpf.WireReadKindREAD_USER_BYTES,
		bpf.WireReadKindREAD_USER_SOCKADDR_UN, bpf.WireReadKindREAD_USER_VECTORS, bpf.WireReadKindREAD_USER_ARRAY,
		bpf.WireReadKindREAD_USER_BPF_ATTR:
		return true
	}
	return false
}

// KindBit is the bit of the read's kind in the configuration of a site's program; 0
// for the kinds that every program has.
func (r Read) KindBit() uint64 {
	if r.Kind < bpf.WireReadKind(bpf.WireReadKindsREAD_KINDS_FIRST) {
		return 0
	}
	return 1 << (r.Kind - bpf.WireReadKind(bpf.WireReadKindsREAD_KINDS_FIRST))
}

// Address tells whether filters compare what is read as an address.
func (r Read) Address() bool {
	return r.Kind == bpf.WireReadKindREAD_SOURCE_ADDRESS || r.Kind == bpf.WireReadKindREAD_TARGET_ADDRESS
}

// Origin tells whether what is read is a change since the process executed its
// program.
func (r Read) Origin() bool {
	return r.Kind == bpf.WireReadKindREAD_NAMESPACE_CHANGES || r.Kind == bpf.WireReadKindREAD_CAPABILITY_CHANGES
}

// part tells whether the read is of something in another one's buffer.
func (r Read) part() bool {
	return r.Kind >= bpf.WireReadKindREAD_SOURCE_ADDRESS && r.Kind <= bpf.WireReadKindREAD_STATE || r.unixPart()
}

func (r Read) unixPart() bool {
	return r.Kind == bpf.WireReadKindREAD_UNIX_FAMILY || r.Kind == bpf.WireReadKindREAD_USER_UNIX_FAMILY
}

// Whole is the read whose buffer holds the part that r is, or r itself.
func (r Read) Whole() Read {
	switch {
	case r.Search() || r.Kind == bpf.WireReadKindREAD_FILE_TYPE:
		return r.computed().Of[0]
	case r.Kind == bpf.WireReadKindREAD_UNIX_FAMILY:
		r.Kind = bpf.WireReadKindREAD_SOCKADDR_UN
		return r
	case r.Kind == bpf.WireReadKindREAD_USER_UNIX_FAMILY:
		r.Kind = bpf.WireReadKindREAD_USER_SOCKADDR_UN
		return r
	case !r.part():
		return r
	}
	return Read{Kind: bpf.WireReadKind(r.Size), Offset: r.Offset, Size: 8, Chain: r.Chain, When: r.When}
}

// partOf is the read of a part of what whole reads.
func partOf(whole Read, kind bpf.WireReadKind) Read {
	return Read{Kind: kind, Offset: whole.Offset, Size: uint16(whole.Kind), Chain: whole.Chain, When: whole.When}
}

// unixFamily is the read of the family of a unix address.
func unixFamily(whole Read) Read {
	whole.Kind = map[bpf.WireReadKind]bpf.WireReadKind{
		bpf.WireReadKindREAD_SOCKADDR_UN:      bpf.WireReadKindREAD_UNIX_FAMILY,
		bpf.WireReadKindREAD_USER_SOCKADDR_UN: bpf.WireReadKindREAD_USER_UNIX_FAMILY,
	}[whole.Kind]
	return whole
}

// nothing is the read of an argument that is not looked at.
func nothing() Read { return Read{Kind: bpf.WireReadKindREAD_NOTHING} }

// wordRead is the read of an argument in a word of 8 bytes at an offset. user:
// pointers of the call are to user memory. Sizes are those of the argument.
func wordRead(offset uint16, arg policy.Arg, sizeOffset uint16, user bool) (Read, error) {
	r := Read{Offset: offset, Size: wordSize}
	switch t := arg.Type; {
	case t == policy.ArgNop:
		return nothing(), nil
	case t.Integer():
		return Read{Kind: bpf.WireReadKindREAD_INT, Offset: offset, Size: uint16(t.Size()), Signed: t.Signed()}, nil
	case t == policy.ArgCapability:
		return Read{Kind: bpf.WireReadKindREAD_INT, Offset: offset, Size: 4, Signed: true}, nil
	case t == policy.ArgInt32Array:
		r.Size = uint16(arg.Elements) * int32Size
	case t == policy.ArgSockaddrUn:
		r.Size = sizeOffset
	case t == policy.ArgCharBuf || t == policy.ArgIovec:
		r.Rest = arg.MaxData
		if r.Size = sizeOffset; arg.SizeArg == 0 && !arg.ReturnCopy {
			return r, fmt.Errorf("%s needs sizeArgIndex, the argument that holds its length", t)
		}
	}
	if user {
		var err error
		r.Kind, err = userKind(arg.Type)
		return r, err
	}
	kind, ok := kernelKinds()[arg.Type]
	if !ok {
		return r, fmt.Errorf("type %s: %w", arg.Type, policy.ErrUnsupported)
	}
	r.Kind = kind
	return r, nil
}

const int32Size = 4

// kernelKinds is how types are read that are pointers of the kernel's functions.
func kernelKinds() map[policy.ArgType]bpf.WireReadKind {
	return map[policy.ArgType]bpf.WireReadKind{
		policy.ArgString: bpf.WireReadKindREAD_KERNEL_STRING, policy.ArgFile: bpf.WireReadKindREAD_FILE,
		policy.ArgPath: bpf.WireReadKindREAD_PATH, policy.ArgDentry: bpf.WireReadKindREAD_DENTRY,
		policy.ArgFD: bpf.WireReadKindREAD_FD, policy.ArgBinprm: bpf.WireReadKindREAD_BINPRM,
		policy.ArgSock: bpf.WireReadKindREAD_SOCK, policy.ArgSocket: bpf.WireReadKindREAD_SOCKET,
		policy.ArgSockaddr: bpf.WireReadKindREAD_SOCKADDR, policy.ArgSkb: bpf.WireReadKindREAD_SKB,
		policy.ArgCred: bpf.WireReadKindREAD_CRED, policy.ArgCharBuf: bpf.WireReadKindREAD_KERNEL_BYTES,
		policy.ArgFilename: bpf.WireReadKindREAD_FILENAME, policy.ArgKiocb: bpf.WireReadKindREAD_KIOCB,
		policy.ArgNetDevice: bpf.WireReadKindREAD_NET_DEVICE, policy.ArgSockaddrUn: bpf.WireReadKindREAD_SOCKADDR_UN,
		policy.ArgIovec: bpf.WireReadKindREAD_VECTORS, policy.ArgIovIter: bpf.WireReadKindREAD_ITERATOR,
		policy.ArgInt32Array: bpf.WireReadKindREAD_ARRAY, policy.ArgUserNamespace: bpf.WireReadKindREAD_USER_NAMESPACE,
		policy.ArgBPFAttr: bpf.WireReadKindREAD_BPF_ATTR, policy.ArgBPFProg: bpf.WireReadKindREAD_BPF_PROG,
		policy.ArgBPFMap: bpf.WireReadKindREAD_BPF_MAP, policy.ArgPerfEvent: bpf.WireReadKindREAD_PERF_EVENT,
		policy.ArgModule: bpf.WireReadKindREAD_MODULE, policy.ArgLoadInfo: bpf.WireReadKindREAD_LOAD_INFO,
		policy.ArgKernelCap: bpf.WireReadKindREAD_CAPABILITY_SET, policy.ArgCapInheritable: bpf.WireReadKindREAD_CAPABILITY_SET,
		policy.ArgCapPermitted: bpf.WireReadKindREAD_CAPABILITY_SET, policy.ArgCapEffective: bpf.WireReadKindREAD_CAPABILITY_SET,
	}
}

// userKind is how a type is read that is a pointer of a system call. The process
// chooses those: one that would be taken for a structure of the kernel could show
// what is in the kernel's memory.
func userKind(t policy.ArgType) (bpf.WireReadKind, error) {
	switch t {
	case policy.ArgString:
		return bpf.WireReadKindREAD_USER_STRING, nil
	case policy.ArgSockaddr:
		return bpf.WireReadKindREAD_USER_SOCKADDR, nil
	case policy.ArgSockaddrUn:
		return bpf.WireReadKindREAD_USER_SOCKADDR_UN, nil
	case policy.ArgCharBuf:
		return bpf.WireReadKindREAD_USER_BYTES, nil
	case policy.ArgIovec:
		return bpf.WireReadKindREAD_USER_VECTORS, nil
	case policy.ArgInt32Array:
		return bpf.WireReadKindREAD_USER_ARRAY, nil
	case policy.ArgBPFAttr:
		return bpf.WireReadKindREAD_USER_BPF_ATTR, nil
	case policy.ArgFD:
		return bpf.WireReadKindREAD_FD, nil
	case policy.ArgFilename:
		return 0, fmt.Errorf("%s is a structure of the kernel, and a system call is given the name itself: use string", t)
	}
	return 0, fmt.Errorf("%s is a structure of the kernel, and a system call is given none: hook a function that is", t)
}
