// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
	"github.com/boltseal/boltseal/bpf"
)

// giveReturn says what a rule does when the call returns, and about sockets.
func (s *site) giveReturn(act *bpf.WireAct, h *compile.Hook, rule *compile.Rule) {
	if rule.Returns {
		act.Flags |= uint16(bpf.WireActionFlagsACTION_RETURN)
		act.ReturnSignal = rule.ReturnSignal
	}
	if t := rule.Track; t != (compile.Track{}) {
		act.Track, act.Sock = uint8(t.Do), uint8(s.table.Dimension(h, t.Read))
	}
	if t := rule.TrackReturn; t != (compile.Track{}) {
		act.TrackReturn, act.SockReturn = uint8(t.Do), uint8(s.table.Dimension(h, t.Read))
	}
}

// watchEnds makes what tasks that end are in be forgotten from now on.
func (m *maps) watchEnds() error {
	if m.calls != nil {
		return nil
	}
	spec, err := m.spec([]string{bpf.SiteProgCallsFree})
	if err != nil {
		return err
	}
	replace := map[string]*ebpf.Map{}
	for name := range spec.Maps {
		if m.shared[name] != nil {
			replace[name] = m.shared[name]
			spec.Maps[name].MaxEntries = m.shared[name].MaxEntries()
		}
	}
	p := &program{}
	if p.coll, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replace, Cache: kernel.Types()}); err != nil {
		return fmt.Errorf("load what forgets the calls of tasks that have ended: %w", err)
	}
	l, err := m.options.Attacher.AttachTracing(p.coll.Programs[bpf.SiteProgCallsFree])
	if err != nil {
		return errors.Join(fmt.Errorf("attach to the end of tasks: %w", err), p.Close())
	}
	p.closers = append(p.closers, l)
	m.calls = p
	return nil
}

// forgetCalls forgets the calls of a site whose programs are gone, so that its
// tasks have room for others. One that is missed is no other site's: serials are
// not used again.
func (m *maps) forgetCalls(serial uint32) error {
	calls, texts := m.coll.Maps[bpf.SiteMapCalls], m.coll.Maps[bpf.SiteMapCallData]
	var gone []bpf.WireCallKey
	var key bpf.WireCallKey
	var call bpf.WireCall
	all := calls.Iterate()
	for all.Next(&key, &call) {
		if call.Serial == serial {
			gone = append(gone, key)
		}
	}
	// Tasks enter and leave calls meanwhile, which ends the walk at times.
	if err := all.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("look for calls of a site: %w", err)
	}
	for _, key := range gone {
		for _, m := range []*ebpf.Map{texts, calls} {
			if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("forget a call: %w", err)
			}
		}
	}
	return nil
}
