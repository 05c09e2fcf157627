// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"fmt"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Rule is what an event says of the rule that it is for. It is immutable.
type Rule struct {
	// PolicyNamespace and PolicyName name the policy. The API's message has no
	// field for the namespace.
	PolicyNamespace, PolicyName string
	// Section is the kind of the hook, which decides the kind of message.
	Section policy.Section
	// Subsys and Event name a tracepoint; a raw one has no Subsys.
	Subsys, Event string
	// Function is the function or security hook of the other sections.
	Function string
	// Message and Tags are the policy's words.
	Message string
	Tags    []string
	// Signal is what the rule sends where its policy is enforced; 0: none.
	Signal uint8
	// Override: where its policy is enforced, the rule makes the operation fail.
	Override bool
	// Unnotifies: the rule takes back what was left for its policy's enforcers.
	Unnotifies bool
	// KernelStack, UserStack and FileHash: events have them.
	KernelStack, UserStack, FileHash bool
	// Args are the arguments of the rule's hook, in the order of the policy; the last
	// Data of them are items of data.
	Args []Arg
	Data int
	// Return is what the function returns; nil where nobody asked.
	Return *Arg
	// ReturnSignal is what the rule sends when the function returns; see Signal.
	ReturnSignal uint8
	// Track and TrackReturn are what it does about a socket's owner as the function is
	// entered, and when it returns: UNKNOWN, TRACKSOCK or UNTRACKSOCK.
	Track, TrackReturn tetragon.KprobeAction
}

// Arg is where in the event's record an argument is.
type Arg struct {
	// Type tells how to read it.
	Type policy.ArgType
	// Reg is the index of the word that holds an integer.
	Reg int
	// String is the index of the string or structure; ignored for integers.
	String int
	// Label is the policy's name for the argument, often empty.
	Label string
}

type ruleKey struct {
	site, version uint32
	bit           int
}

// rule resolves a bit, nil when nobody knows it.
func (e *Enricher) rule(key ruleKey) *Rule {
	if r, ok := e.rules[key]; ok {
		return r
	}
	r, ok := e.Rules.Resolve(key.site, key.version, key.bit)
	if !ok {
		return nil
	}
	if len(e.rules) >= maxRules {
		clear(e.rules)
	}
	// A policy's words can be cut within a character.
	r.PolicyName, r.Message = valid(r.PolicyName), valid(r.Message)
	r.Tags, r.Args = slices.Clone(r.Tags), slices.Clone(r.Args)
	for i := range r.Tags {
		r.Tags[i] = valid(r.Tags[i])
	}
	for i := range r.Args {
		r.Args[i].Label = valid(r.Args[i].Label)
	}
	if r.Return != nil {
		of := *r.Return
		of.Label = valid(of.Label)
		r.Return = &of
	}
	e.rules[key] = &r
	return &r
}

// match is a rule that has matched, and what its message has of the event.
type match struct {
	*Rule
	family
	args, data []*tetragon.KprobeArgument
	action     tetragon.KprobeAction
}

func (e *Enricher) publishSite(of *event.Site, p *process.Process) {
	var m match
	var kind AncestorsOf
	traces := traces{stacks: e.Stacks, of: of}
	for bit := range of.Posted.All() {
		if of.Silent.Has(bit) {
			continue
		}
		if m.Rule = e.rule(ruleKey{of.Site, of.Version, bit}); m.Rule == nil {
			e.unresolved.Add(1)
			continue
		}
		// The process cache is asked once: a site's rules are all of one kind.
		if k := sectionKind(m.Section); k != kind {
			kind, m.family = k, e.family(p, &of.Header, k)
		}
		all := e.siteArgs(of, m.Args)
		m.args, m.data = all[:len(all)-m.Data], all[len(all)-m.Data:]
		m.action = action(m.Rule, of.Signalled.Has(bit), of.Overridden.Has(bit), of.Notified.Has(bit))
		switch m.Section {
		case policy.LSMHooks:
			response, lsm := m.lsm()
			if m.FileHash {
				lsm.ImaHash = fileHash(&of.FileHash)
			}
			e.publish(&of.Header, response)
		case policy.Kprobes, policy.Fentries:
			response, kprobe := m.kprobe()
			kprobe.KernelStackTrace, kprobe.UserStackTrace = traces.kernelOf(m.Rule), traces.userOf(m.Rule)
			kprobe.Return, kprobe.ReturnAction = e.returned(of, m.Rule), returnAction(of, m.Rule, bit)
			e.publish(&of.Header, response)
		default:
			e.publish(&of.Header, m.tracepoint())
		}
	}
}

// Each message is one piece of memory with what it always has: there are many, and the
// memory is most of what they cost.

func (m *match) lsm() (*tetragon.GetEventsResponse, *tetragon.ProcessLsm) {
	all := &struct {
		response tetragon.GetEventsResponse
		event    tetragon.GetEventsResponse_ProcessLsm
		lsm      tetragon.ProcessLsm
	}{
		lsm: tetragon.ProcessLsm{
			Process: m.process, Parent: m.parent, Ancestors: m.ancestors, FunctionName: m.Function, Args: m.args,
			PolicyName: m.PolicyName, Action: m.action, Message: m.Message, Tags: m.Tags,
		},
	}
	all.event.ProcessLsm, all.response.Event = &all.lsm, &all.event
	return &all.response, &all.lsm
}

func (m *match) kprobe() (*tetragon.GetEventsResponse, *tetragon.ProcessKprobe) {
	all := &struct {
		response tetragon.GetEventsResponse
		event    tetragon.GetEventsResponse_ProcessKprobe
		kprobe   tetragon.ProcessKprobe
	}{
		kprobe: tetragon.ProcessKprobe{
			Process: m.process, Parent: m.parent, Ancestors: m.ancestors, FunctionName: m.Function, Args: m.args, Data: m.data,
			PolicyName: m.PolicyName, Action: m.action, Message: m.Message, Tags: m.Tags,
		},
	}
	all.event.ProcessKprobe, all.response.Event = &all.kprobe, &all.event
	return &all.response, &all.kprobe
}

func (m *match) tracepoint() *tetragon.GetEventsResponse {
	all := &struct {
		response   tetragon.GetEventsResponse
		event      tetragon.GetEventsResponse_ProcessTracepoint
		tracepoint tetragon.ProcessTracepoint
	}{
		tracepoint: tetragon.ProcessTracepoint{
			Process: m.process, Parent: m.parent, Ancestors: m.ancestors, Subsys: m.Subsys, Event: m.Event, Args: m.args,
			PolicyName: m.PolicyName, Action: m.action, Message: m.Message, Tags: m.Tags,
		},
	}
	all.event.ProcessTracepoint, all.response.Event = &all.tracepoint, &all.event
	return &all.response
}

// action is what was done: a rule that signals or denies only posts while its
// policy is not enforced, or when its signal could not be sent. Of what both kills
// and denies the kill is told, since nothing is left to see the error; of what
// denies and sends another signal, the denial.
func action(r *Rule, signalled, overridden, notified bool) tetragon.KprobeAction {
	switch {
	case signalled && r.Signal == uint8(unix.SIGKILL):
		return tetragon.KprobeAction_KPROBE_ACTION_SIGKILL
	case overridden:
		return tetragon.KprobeAction_KPROBE_ACTION_OVERRIDE
	case signalled:
		return tetragon.KprobeAction_KPROBE_ACTION_SIGNAL
	case notified:
		return tetragon.KprobeAction_KPROBE_ACTION_NOTIFYENFORCER
	case r.Unnotifies:
		return tetragon.KprobeAction_KPROBE_ACTION_CLEANUPENFORCERNOTIFICATION
	case r.Track != tetragon.KprobeAction_KPROBE_ACTION_UNKNOWN:
		return r.Track
	}
	return tetragon.KprobeAction_KPROBE_ACTION_POST
}

// returned is what the function has returned; nil where nobody asked, or it has not
// yet.
func (e *Enricher) returned(of *event.Site, r *Rule) *tetragon.KprobeArgument {
	if !of.Returned || r.Return == nil {
		return nil
	}
	return e.siteArgs(of, []Arg{*r.Return})[0]
}

// returnAction is what was done when the function returned: POST where that is all,
// and UNKNOWN for an event that did not wait for it.
func returnAction(of *event.Site, r *Rule, bit int) tetragon.KprobeAction {
	switch signalled := of.ReturnSignalled.Has(bit); {
	case !of.Returned:
		return tetragon.KprobeAction_KPROBE_ACTION_UNKNOWN
	case signalled && r.ReturnSignal == uint8(unix.SIGKILL):
		return tetragon.KprobeAction_KPROBE_ACTION_SIGKILL
	case signalled:
		return tetragon.KprobeAction_KPROBE_ACTION_SIGNAL
	case r.TrackReturn != tetragon.KprobeAction_KPROBE_ACTION_UNKNOWN:
		return r.TrackReturn
	}
	return tetragon.KprobeAction_KPROBE_ACTION_POST
}

// setInteger puts an integer into the field that the API has for its type. What
// the word holds above the type's width does not count.
func setInteger(m *tetragon.KprobeArgument, t policy.ArgType, word uint64) {
	switch t {
	case policy.ArgInt8:
		m.Arg = &tetragon.KprobeArgument_IntArg{IntArg: int32(int8(word))}
	case policy.ArgInt16:
		m.Arg = &tetragon.KprobeArgument_IntArg{IntArg: int32(int16(word))}
	case policy.ArgInt32:
		m.Arg = &tetragon.KprobeArgument_IntArg{IntArg: int32(word)}
	case policy.ArgInt64:
		m.Arg = &tetragon.KprobeArgument_LongArg{LongArg: int64(word)}
	case policy.ArgUint8:
		m.Arg = &tetragon.KprobeArgument_UintArg{UintArg: uint32(uint8(word))}
	case policy.ArgUint16:
		m.Arg = &tetragon.KprobeArgument_UintArg{UintArg: uint32(uint16(word))}
	case policy.ArgUint32:
		m.Arg = &tetragon.KprobeArgument_UintArg{UintArg: uint32(word)}
	case policy.ArgUint64:
		m.Arg = &tetragon.KprobeArgument_SizeArg{SizeArg: word}
	}
}

// signalName is "SIGKILL" and the like; empty for no signal.
func signalName(signal uint32) string {
	if signal == 0 {
		return ""
	}
	if name := unix.SignalName(syscall.Signal(signal)); name != "" {
		return name
	}
	return fmt.Sprintf("SIG%d", signal)
}
