// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/boltseal/boltseal/bpf"
)

// ErrMalformed says that bytes are no record that the programs write.
var ErrMalformed = errors.New("malformed record")

// Sizes of the fixed parts of records. A test holds them against the types
// that are generated from the programs.
const (
	headerSize = 48
	cgroupSize = headerSize + 16 + pathSize
	forkSize   = headerSize + 32 + stateSize
	execSize   = headerSize + 64 + stateSize
	exitSize   = headerSize + 8
	siteSize   = headerSize + 8 + 8*int(bpf.WireLimitsREADS_MAX) + 8*int(bpf.WireLimitsSTRINGS_MAX) + 24 + 6*rulesSize
	dataSize   = headerSize + 24

	stateSize = 9*4 + 4 + 3*8 + 16 + 4*int(bpf.WireNamespaceKindNAMESPACE_KINDS)
	pathSize  = int(bpf.WireLimitsPATH_KEY_MAX) + 1
	rulesSize = 8 * int(bpf.WireLimitsRULE_WORDS)
)

// Decode decodes one record, as a new Decoder does.
func Decode(record []byte) (Event, error) { return new(Decoder).Decode(record) }

// Decoder decodes one record after the other.
type Decoder struct {
	// site is large, and there are more of it than of all others.
	site Site
}

// Decode decodes one record. The value shares no memory with it; a *Site, but not its
// strings and stacks, is overwritten by the next one. Errors wrap ErrMalformed and say
// what is wrong.
func (d *Decoder) Decode(record []byte) (Event, error) {
	if len(record) < headerSize {
		return nil, fmt.Errorf("%w: %d bytes are shorter than a header", ErrMalformed, len(record))
	}
	c := cursor{record}
	kind := bpf.WireEventType(c.u16())
	c.skip(2)
	if size := c.u32(); uint64(size) != uint64(len(record)) {
		return nil, fmt.Errorf("%w: type %d: %d bytes, header says %d", ErrMalformed, kind, len(record), size)
	}
	e, err := d.body(kind, c.header(), c)
	if err != nil {
		return nil, fmt.Errorf("%w: type %d: %w", ErrMalformed, kind, err)
	}
	return e, nil
}

func (d *Decoder) body(kind bpf.WireEventType, h Header, c cursor) (Event, error) {
	switch kind {
	case bpf.WireEventTypeEVENT_CGROUP_SEALED:
		return decodeSealed(h, c)
	case bpf.WireEventTypeEVENT_CGROUP_GONE:
		return decodeGone(h, c)
	case bpf.WireEventTypeEVENT_FORK:
		return decodeFork(h, c)
	case bpf.WireEventTypeEVENT_EXEC:
		return decodeExec(h, c)
	case bpf.WireEventTypeEVENT_EXIT:
		return decodeExit(h, c)
	case bpf.WireEventTypeEVENT_SITE:
		return d.decodeSite(h, c)
	case bpf.WireEventTypeEVENT_DATA:
		return decodeData(h, c)
	case bpf.WireEventTypeEVENT_TASK_UNSEALED:
		return &TaskUnsealed{h}, c.rest(0)
	case bpf.WireEventTypeEVENT_ARMED:
		return &Armed{h}, c.rest(0)
	}
	return nil, errors.New("unknown type")
}

func decodeSealed(h Header, c cursor) (Event, error) {
	if err := c.rest(cgroupSize - headerSize); err != nil {
		return nil, err
	}
	e := &CgroupSealed{Header: h, Slot: c.u32(), By: bpf.WireSealedBy(c.u32()), ID: c.u64()}
	if e.By > bpf.WireSealedBySEALED_BY_AGENT {
		return nil, fmt.Errorf("unknown sealer %d", e.By)
	}
	path, _, ended := bytes.Cut(c.bytes, []byte{0})
	if !ended {
		return nil, errors.New("path has no end")
	}
	e.Path = string(path)
	return e, nil
}

func decodeGone(h Header, c cursor) (Event, error) {
	if err := c.rest(cgroupSize - headerSize); err != nil {
		return nil, err
	}
	e := &CgroupGone{Header: h, Slot: c.u32()}
	c.skip(4)
	e.ID = c.u64()
	return e, nil
}

func decodeFork(h Header, c cursor) (Event, error) {
	if err := c.rest(forkSize - headerSize); err != nil {
		return nil, err
	}
	e := &Fork{Header: h, Parent: c.parent(), NSPid: c.u32()}
	var err error
	if e.Tree, err = c.tree(); err != nil {
		return nil, err
	}
	e.Maker.Tgid, e.Maker.Start = c.u32(), c.u64()
	e.State = c.state()
	return e, nil
}

func decodeExit(h Header, c cursor) (Event, error) {
	if err := c.rest(exitSize - headerSize); err != nil {
		return nil, err
	}
	return &Exit{Header: h, Code: c.u32()}, nil
}

func decodeExec(h Header, c cursor) (Event, error) {
	if len(c.bytes) < execSize-headerSize {
		return nil, c.rest(execSize - headerSize)
	}
	e := &Exec{Header: h, Parent: c.parent(), AUID: c.u32(), Flags: bpf.WireExecFlags(c.u32())}
	binaryLen, argsLen, cwdLen, envLen := int(c.u16()), int(c.u16()), int(c.u16()), int(c.u16())
	e.NSPid = c.u32()
	var err error
	if e.Tree, err = c.tree(); err != nil {
		return nil, err
	}
	e.ArgsSize, e.EnvSize = c.u32(), c.u32()
	e.Links, e.Data, e.Inode = c.u32(), c.u64(), c.u64()
	e.State = c.state()
	if err := c.rest(binaryLen + argsLen + cwdLen + envLen); err != nil {
		return nil, err
	}
	// One allocation for all four.
	text := string(c.bytes)
	e.Binary, text = text[:binaryLen], text[binaryLen:]
	e.Args, text = Split(text[:argsLen]), text[argsLen:]
	e.Cwd, e.Env = text[:cwdLen], Split(text[cwdLen:])
	return e, nil
}

// Split splits arguments or an environment at the NULs, which end strings: the last
// one has none when the text was cut.
func Split(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\x00"), "\x00")
}

func (d *Decoder) decodeSite(h Header, c cursor) (Event, error) {
	if len(c.bytes) < siteSize-headerSize {
		return nil, c.rest(siteSize - headerSize)
	}
	e := &d.site
	*e = Site{Header: h, Site: c.u32(), Version: c.u32()}
	c.words(e.Regs[:])
	var lengths [len(e.Strings)]int
	sum := 0
	for i := range e.Strings {
		switch n := bpf.WireStringStatus(c.u32()); {
		case n == bpf.WireStringStatusSTRING_UNREADABLE:
			e.Strings[i].Status = StringUnreadable
		case n == bpf.WireStringStatusSTRING_TRUNCATED:
			e.Strings[i].Status = StringTruncated
		case uint32(n) >= uint32(bpf.WireLimitsSTRING_MAX):
			return nil, fmt.Errorf("string %d has %d bytes", i, uint32(n))
		default:
			lengths[i] = int(n)
			sum += int(n)
		}
	}
	for i := range e.Strings {
		e.Strings[i].Mode = c.u32()
	}
	e.Unreadable = c.u32()
	e.FileHash.Algorithm = c.u32()
	kernelStack, userStack := int(c.u16()), int(c.u16())
	if err := checkStacks(kernelStack, userStack); err != nil {
		return nil, err
	}
	e.AtExit = c.u16() != 0
	e.Returned = c.u16() != 0
	e.Data = c.u64()
	for _, bits := range [...]*RuleBits{
		&e.Posted, &e.Signalled, &e.Overridden, &e.Notified, &e.Silent, &e.ReturnSignalled,
	} {
		c.words(bits[:])
	}
	hash := e.FileHash.Bytes[:0]
	if e.FileHash.Algorithm != 0 {
		hash = e.FileHash.Bytes[:]
	}
	if err := c.rest(sum + kernelStack + userStack + len(hash)); err != nil {
		return nil, err
	}
	text := string(c.bytes[:sum])
	c.skip(sum)
	e.KernelStack, e.UserStack = c.stack(kernelStack), c.stack(userStack)
	copy(hash, c.bytes)
	for i, n := range lengths {
		e.Strings[i].Value, text = text[:n], text[n:]
	}
	return e, nil
}

// checkStacks checks the lengths of stacks in bytes.
func checkStacks(lengths ...int) error {
	for _, n := range lengths {
		if n%8 != 0 || n > 8*int(bpf.WireLimitsSTACK_MAX) {
			return fmt.Errorf("stack has %d bytes", n)
		}
	}
	return nil
}

func decodeData(h Header, c cursor) (Event, error) {
	if len(c.bytes) < dataSize-headerSize {
		return nil, c.rest(dataSize - headerSize)
	}
	e := &Data{Header: h, ID: c.u64(), String: int(c.u32()), Offset: int(c.u32())}
	if e.String >= int(bpf.WireLimitsSTRINGS_MAX) {
		return nil, fmt.Errorf("data of string %d", e.String)
	}
	n := int(c.u32())
	c.skip(4)
	if err := c.rest(n); err != nil {
		return nil, err
	}
	e.Bytes = string(c.bytes)
	return e, nil
}

// cursor reads from the front of a record. Whoever reads has checked that there
// is enough.
type cursor struct{ bytes []byte }

// rest checks that exactly n bytes are left.
func (c *cursor) rest(n int) error {
	if len(c.bytes) != n {
		return fmt.Errorf("%d bytes where there should be %d", len(c.bytes), n)
	}
	return nil
}

func (c *cursor) skip(n int) { c.bytes = c.bytes[n:] }

func (c *cursor) u16() uint16 {
	v := binary.LittleEndian.Uint16(c.bytes)
	c.skip(2)
	return v
}

func (c *cursor) u32() uint32 {
	v := binary.LittleEndian.Uint32(c.bytes)
	c.skip(4)
	return v
}

func (c *cursor) u64() uint64 {
	v := binary.LittleEndian.Uint64(c.bytes)
	c.skip(8)
	return v
}

// header reads what follows type and size.
func (c *cursor) header() Header {
	return Header{
		Ktime: c.u64(), Tgid: c.u32(), Tid: c.u32(), Start: c.u64(), Slot: c.u32(), UID: c.u32(), CgroupID: c.u64(),
	}
}

func (c *cursor) parent() Parent {
	start := c.u64()
	return Parent{Start: start, Tgid: c.u32()}
}

func (c *cursor) tree() (bpf.WireInitTree, error) {
	tree := bpf.WireInitTree(c.u32())
	if tree > bpf.WireInitTreeINIT_TREE_OUT {
		return 0, fmt.Errorf("unknown relation to init %d", tree)
	}
	return tree, nil
}

func (c *cursor) state() (s State) {
	s.UID, s.GID, s.SUID, s.SGID, s.EUID, s.EGID, s.FSUID, s.FSGID = c.u32(), c.u32(), c.u32(), c.u32(), c.u32(), c.u32(), c.u32(), c.u32()
	s.SecureBits = c.u32()
	c.skip(4) // the inode number of the user namespace, which comes again
	s.Inheritable, s.Permitted, s.Effective = c.u64(), c.u64(), c.u64()
	s.UserNSLevel, s.UserNSOwner, s.UserNSGroup = int32(c.u32()), c.u32(), c.u32()
	c.skip(4)
	for i := range s.Namespaces {
		s.Namespaces[i] = c.u32()
	}
	return s
}

// stack reads addresses of so many bytes.
func (c *cursor) stack(bytes int) (addresses []uint64) {
	for range bytes / 8 {
		addresses = append(addresses, c.u64())
	}
	return addresses
}

// words fills to.
func (c *cursor) words(to []uint64) {
	from := c.bytes[:8*len(to)]
	for i := range to {
		to[i] = binary.LittleEndian.Uint64(from[8*i:])
	}
	c.skip(8 * len(to))
}
