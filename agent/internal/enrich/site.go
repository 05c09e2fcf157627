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

func (e *Enricher) publishSite(of *event.Site, p *process.Process) {
	traces := traces{stacks: e.Stacks, of: of}
	for bit := range of.Posted.All() {
		if of.Silent.Has(bit) {
			continue
		}
		r := e.rule(ruleKey{of.Site, of.Version, bit})
		if r == nil {
			e.unresolved.Add(1)
			continue
		}
		f, response := e.family(p, &of.Header, sectionKind(r.Section)), &tetragon.GetEventsResponse{}
		all, did := e.siteArgs(of, r.Args), action(r, of.Signalled.Has(bit), of.Overridden.Has(bit), of.Notified.Has(bit))
		args, data := all[:len(all)-r.Data], all[len(all)-r.Data:]
		switch r.Section {
		case policy.LSMHooks:
			lsm := &tetragon.ProcessLsm{
				Process: f.process, Parent: f.parent, Ancestors: f.ancestors, FunctionName: r.Function, Args: args,
				PolicyName: r.PolicyName, Action: did, Message: r.Message, Tags: r.Tags,
			}
			if r.FileHash {
				lsm.ImaHash = fileHash(&of.FileHash)
			}
			response.Event = &tetragon.GetEventsResponse_ProcessLsm{ProcessLsm: lsm}
		case policy.Kprobes, policy.Fentries:
			response.Event = &tetragon.GetEventsResponse_ProcessKprobe{ProcessKprobe: &tetragon.ProcessKprobe{
				Process: f.process, Parent: f.parent, Ancestors: f.ancestors, FunctionName: r.Function, Args: args, Data: data,
				PolicyName: r.PolicyName, Action: did, Message: r.Message, Tags: r.Tags,
				KernelStackTrace: traces.kernelOf(r), UserStackTrace: traces.userOf(r),
				Return: e.returned(of, r), ReturnAction: returnAction(of, r, bit),
			}}
		default:
			response.Event = &tetragon.GetEventsResponse_ProcessTracepoint{ProcessTracepoint: &tetragon.ProcessTracepoint{
				Process: f.process, Parent: f.parent, Ancestors: f.ancestors, Subsys: r.Subsys, Event: r.Event, Args: args,
				PolicyName: r.PolicyName, Action: did, Message: r.Message, Tags: r.Tags,
			}}
		}
		e.publish(&of.Header, response)
	}
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
