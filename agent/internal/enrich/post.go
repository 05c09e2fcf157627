// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"encoding/hex"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Frame is one function of a stack: see the fields of the message.
type Frame struct {
	Address, Offset uint64
	Symbol, Module  string
}

// Stacks names the functions of stacks, innermost first. It is asked while an event
// waits and must answer in bounded time.
type Stacks interface {
	// Kernel is the frames of a stack of the kernel.
	Kernel(stack []uint64) []Frame
	// User is those of a stack of the process that started then, in ns since boot.
	User(pid uint32, start uint64, stack []uint64) []Frame
}

// traces is the stacks of an event, named when the first message asks for them.
type traces struct {
	stacks       Stacks
	of           *event.Site
	kernel, user []*tetragon.StackTraceEntry
}

func (t *traces) kernelOf(r *Rule) []*tetragon.StackTraceEntry {
	if !r.KernelStack {
		return nil
	}
	if t.kernel == nil && len(t.of.KernelStack) > 0 {
		t.kernel = entries(t.stacks.Kernel(t.of.KernelStack))
	}
	return t.kernel
}

func (t *traces) userOf(r *Rule) []*tetragon.StackTraceEntry {
	if !r.UserStack {
		return nil
	}
	if t.user == nil && len(t.of.UserStack) > 0 {
		t.user = entries(t.stacks.User(t.of.Tgid, t.of.Start, t.of.UserStack))
	}
	return t.user
}

// entries is frames as the API has them. Symbols and paths are the process's words.
func entries(frames []Frame) []*tetragon.StackTraceEntry {
	out := make([]*tetragon.StackTraceEntry, 0, len(frames))
	for _, f := range frames {
		out = append(out, &tetragon.StackTraceEntry{
			Address: f.Address, Offset: f.Offset, Symbol: valid(f.Symbol), Module: valid(f.Module),
		})
	}
	return out
}

// hashAlgorithm is one of the kernel's enum hash_algo, and how many bytes its hash
// has.
type hashAlgorithm struct {
	name  string
	bytes int
}

// hashAlgorithms are by their number (include/uapi/linux/hash_info.h).
func hashAlgorithms() []hashAlgorithm {
	return []hashAlgorithm{
		{"md4", 16}, {"md5", 16}, {"sha1", 20}, {"rmd160", 20}, {"sha256", 32}, {"sha384", 48}, {"sha512", 64}, {"sha224", 28},
		{"rmd128", 16}, {"rmd256", 32}, {"rmd320", 40}, {"wp256", 32}, {"wp384", 48}, {"wp512", 64}, {"tgr128", 16},
		{"tgr160", 20}, {"tgr192", 24}, {"sm3", 32}, {"streebog256", 32}, {"streebog512", 64}, {"sha3-256", 32},
		{"sha3-384", 48}, {"sha3-512", 64},
	}
}

// fileHash is "algorithm:hex", empty where there is no hash or nobody knows how long
// it is.
func fileHash(h *event.FileHash) string {
	all := hashAlgorithms()
	if h.Algorithm == 0 || int64(h.Algorithm) > int64(len(all)) {
		return ""
	}
	a := all[h.Algorithm-1]
	return a.name + ":" + hex.EncodeToString(h.Bytes[:a.bytes])
}
