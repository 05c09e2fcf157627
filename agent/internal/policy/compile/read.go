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
	// Size is that of the word in bytes; for characters in the record also the
	// most that there can be; for bytes at a pointer the offset of the word with
	// their number; for a part of a socket the kind of the socket's read.
	Size   uint16
	Signed bool
	// Chain leads to the word where it is not in the context itself. The context then
	// has at Offset what the chain begins with.
	Chain Chain
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
		r.Kind == bpf.WireReadKindREAD_PARENT_BINARY || r.Kind == bpf.WireReadKindREAD_PARENT_BINARY_PATH
}

// Buffer tells whether what is read takes one of the site's buffers, of which
// there are MaxStrings.
func (r Read) Buffer() bool {
	return r.Kind > bpf.WireReadKindREAD_INT && r.Kind < bpf.WireReadKindREAD_SOURCE_ADDRESS &&
		r.Kind != bpf.WireReadKindREAD_BINARY || r.Kind == bpf.WireReadKindREAD_PARENT_BINARY_PATH
}

// Returned tells whether it is read when the call returns.
func (r Read) Returned() bool { return r.When != bpf.WireReadWhenREAD_WHEN_ENTERED }

// User tells whether what is read at the entry is in the memory of the process.
func (r Read) User() bool {
	return !r.Returned() && r.user()
}

func (r Read) user() bool {
	return r.Kind == bpf.WireReadKindREAD_USER_STRING || r.Kind == bpf.WireReadKindREAD_USER_SOCKADDR ||
		r.Kind == bpf.WireReadKindREAD_USER_BYTES
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
	return r.Kind >= bpf.WireReadKindREAD_SOURCE_ADDRESS && r.Kind <= bpf.WireReadKindREAD_STATE
}

// Whole is the read whose buffer holds the part that r is, or r itself.
func (r Read) Whole() Read {
	if c := r.computed(); r.Search() || r.Kind == bpf.WireReadKindREAD_FILE_TYPE {
		return c.Of[0]
	}
	if !r.part() {
		return r
	}
	return Read{Kind: bpf.WireReadKind(r.Size), Offset: r.Offset, Size: 8, Chain: r.Chain, When: r.When}
}

// partOf is the read of a part of what whole reads.
func partOf(whole Read, kind bpf.WireReadKind) Read {
	return Read{Kind: kind, Offset: whole.Offset, Size: uint16(whole.Kind), Chain: whole.Chain, When: whole.When}
}

// wordRead is the read of an argument in a word of 8 bytes at an offset. user:
// pointers of the call are to user memory.
func wordRead(offset uint16, t policy.ArgType, user bool) (Read, error) {
	r := Read{Offset: offset, Size: 8}
	switch {
	case t.Integer():
		return Read{Kind: bpf.WireReadKindREAD_INT, Offset: offset, Size: uint16(t.Size()), Signed: t.Signed()}, nil
	case t == policy.ArgCapability:
		return Read{Kind: bpf.WireReadKindREAD_INT, Offset: offset, Size: 4, Signed: true}, nil
	case t == policy.ArgString && user:
		r.Kind = bpf.WireReadKindREAD_USER_STRING
		return r, nil
	case t == policy.ArgSockaddr && user:
		r.Kind = bpf.WireReadKindREAD_USER_SOCKADDR
		return r, nil
	}
	kinds := map[policy.ArgType]bpf.WireReadKind{
		policy.ArgString: bpf.WireReadKindREAD_KERNEL_STRING, policy.ArgFile: bpf.WireReadKindREAD_FILE,
		policy.ArgPath: bpf.WireReadKindREAD_PATH, policy.ArgDentry: bpf.WireReadKindREAD_DENTRY,
		policy.ArgFD: bpf.WireReadKindREAD_FD, policy.ArgBinprm: bpf.WireReadKindREAD_BINPRM,
		policy.ArgSock: bpf.WireReadKindREAD_SOCK, policy.ArgSocket: bpf.WireReadKindREAD_SOCKET,
		policy.ArgSockaddr: bpf.WireReadKindREAD_SOCKADDR, policy.ArgSkb: bpf.WireReadKindREAD_SKB,
		policy.ArgCred: bpf.WireReadKindREAD_CRED,
	}
	kind, ok := kinds[t]
	if !ok {
		return r, fmt.Errorf("type %s: %w", t, policy.ErrUnsupported)
	}
	r.Kind = kind
	return r, nil
}
