// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/bpf"
)

// addBinaries adds the filters on the path of the executed file, or that of the
// parent, and returns those that are about children too.
func (c *conjunction) addBinaries(filters []policy.BinaryFilter, parent bool) (followed []LineageFilter) {
	hash, path := bpf.WireReadKindREAD_BINARY, bpf.WireReadKindREAD_BINARY_PATH
	if parent {
		hash, path = bpf.WireReadKindREAD_PARENT_BINARY, bpf.WireReadKindREAD_PARENT_BINARY_PATH
	}
	for _, f := range filters {
		read := Read{Kind: path, Size: 8}
		switch {
		case f.FollowChildren:
			followed = append(followed, LineageFilter{Lineage{Binaries: f.Values, Ancestors: parent}, f.Op.Negated()})
			continue
		case f.Op == policy.OpIn, f.Op == policy.OpNotIn:
			read = Read{Kind: hash}
		}
		c.addStrings(c.hook.filterRead(read), f.Op, f.Values)
	}
	return followed
}

// addPIDs adds the filters on process ids, and returns those that are about
// children too.
func (c *conjunction) addPIDs(filters []policy.PIDFilter) (followed []LineageFilter) {
	for _, f := range filters {
		if f.FollowForks {
			followed = append(followed, LineageFilter{Lineage{PIDs: f.Values, NamespacePIDs: f.NamespacePID}, f.Negated})
			continue
		}
		kind := bpf.WireReadKindREAD_PID
		if f.NamespacePID {
			kind = bpf.WireReadKindREAD_NAMESPACE_PID
		}
		c.addIntegers(c.hook.filterRead(Read{Kind: kind}), points(f.Values), f.Negated, false)
	}
	return followed
}

// addProcess adds the filters on the process but for its ids.
func (c *conjunction) addProcess(path string, s policy.Selector, k Kernel, faults *faults) {
	for i, f := range s.Namespaces {
		values := f.Values
		if f.Host {
			host, err := k.HostNamespace(f.Namespace)
			if err != nil {
				faults.add(fmt.Sprintf("%s.matchNamespaces[%d]", path, i), err)
				continue
			}
			values = append(slices.Clone(values), host)
		}
		c.addIntegers(c.hook.filterRead(namespaceRead(f.Namespace)), points(values), f.Negated, false)
	}
	for i, f := range s.Capabilities {
		if err := c.addCapabilities(bpf.WireReadKindREAD_CAPABILITIES, f, k); err != nil {
			faults.add(fmt.Sprintf("%s.matchCapabilities[%d]", path, i), err)
		}
	}
}

func namespaceRead(n policy.Namespace) Read {
	return Read{Kind: bpf.WireReadKindREAD_NAMESPACE, Offset: uint16(n)}
}

// addBits adds a filter on the bits of what is read: it has one of the mask, or
// negated none.
func (c *conjunction) addBits(r Read, mask uint64, negated bool) {
	read := c.hook.filterRead(r)
	if !negated {
		c.addMask(read, mask)
		return
	}
	d := c.dim(read)
	d.number, d.notMask = true, d.notMask|mask
}

// addCapabilities adds a filter on a set of capabilities, or on the changes of one.
func (c *conjunction) addCapabilities(kind bpf.WireReadKind, f policy.CapabilityFilter, k Kernel) error {
	c.addBits(Read{Kind: kind, Offset: uint16(f.Set)}, f.Mask, f.Negated)
	if !f.Namespaced {
		return nil
	}
	host, err := k.HostNamespace(policy.NamespaceUser)
	if err != nil {
		return err
	}
	c.addIntegers(c.hook.filterRead(namespaceRead(policy.NamespaceUser)), points([]uint32{host}), true, false)
	return nil
}
