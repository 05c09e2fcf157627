// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/expression"
	"github.com/boltseal/boltseal/bpf"
)

// Limits of one site; see the shared header of the programs.
const (
	MaxRules   = int(bpf.WireLimitsRULES_MAX)
	MaxReads   = int(bpf.WireLimitsREADS_MAX)
	MaxStrings = int(bpf.WireLimitsSTRINGS_MAX)
)

// Kind is one way to look a value up.
type Kind = bpf.WireMatchKind

// Interval is a range of integers in the order of the machine: signed values
// have their sign bit inverted. Both ends are inside.
type Interval struct {
	Lo, Hi uint64
}

// Filter is what a rule asks of one dimension by one kind of comparison. A rule
// has at most one filter for each pair.
type Filter struct {
	// Read is a position in Hook.Reads.
	Read int
	Kind Kind
	// Negated: the values are those that the rule excludes. Only with exact
	// comparison; the affix kinds have negated kinds of their own.
	Negated bool
	Strings []string
	// Numbers are the values of exact comparison of integers.
	Numbers []uint64
	// Intervals are those of range comparison: sorted and disjoint.
	Intervals []Interval
	// Mask is that of the mask kinds.
	Mask uint64
	// Networks are those of the affix kinds where addresses are compared.
	Networks []netip.Prefix
	// Substrings are those of MATCH_SUBSTRING. Where letters of both cases are one,
	// they have small ones.
	Substrings []string
	// Expression is what a read of an expression computes.
	Expression *expression.Program
}

// Rule is one selector of a hook.
type Rule struct {
	// Selector is its index in the hook.
	Selector int
	Filters  []Filter
	// Lineages are what is asked of the process's lineage: Policy.WithLineages makes
	// filters of them.
	Lineages []LineageFilter
	// Workload is Selector.Workload: containers whose set of workloads has it not do
	// not have the rule.
	Workload int
	// Label is the selector's.
	Label string
	// Post tells whether a match makes an event.
	Post bool
	// Signal is sent when the policy enforces; 0: none.
	Signal uint8
	// Overrides: what the hook decides about returns Error when the policy enforces.
	Overrides bool
	Error     int32
	// Notifies: NoticeSignal and NoticeError, of which 0 is none, are left for the
	// policy's enforcers when the policy enforces.
	Notifies     bool
	NoticeSignal uint8
	NoticeError  int32
	// Noticed: what was left is done. The rule is an enforcer's.
	Noticed bool
	// Unnotifies: what was left for the policy's enforcers is taken back.
	Unnotifies bool
	// Rate is how often its events are made.
	Rate Rate
	// KernelStack, UserStack and FileHash are what its events have beside the
	// arguments.
	KernelStack, UserStack, FileHash bool
	// Notice is the number of the policy among those with enforcers, see
	// Policy.WithNotice.
	Notice uint8
	// Remote is what the agent does to other hosts after a match when the policy
	// enforces.
	Remote []policy.Action
	// Returns: the event waits for the function's return, of which filters on reads
	// that are Returned decide. ReturnSignal and TrackReturn are done then, if they
	// hold; see Signal.
	Returns      bool
	ReturnSignal uint8
	// Track is done at the entry, whether or not the policy enforces.
	Track, TrackReturn Track
}

// Enforces tells whether the rule acts on the process.
func (r *Rule) Enforces() bool {
	return r.Signal != 0 || r.ReturnSignal != 0 || r.Overrides || r.Notifies || r.Noticed
}

// Hook is one hook of a policy, ready for its site.
type Hook struct {
	Site Site
	// Indirect, RegsOffset and ResultOffset tell the site's program where its words
	// are: the same for all hooks of a site.
	Indirect                 bool
	RegsOffset, ResultOffset uint16
	Frame                    Frame
	// Returns: events are of the function's return. Result is what it returns; nil
	// where nobody asked.
	Returns bool
	Result  *Result
	// Missed: the kernel skips the site's program at times, see Kernel.Misses.
	Missed bool
	// Section and Index are the hook's place in the policy, Call what it names.
	Section policy.Section
	Index   int
	Call    string
	// Reads are what the site must read: first the arguments, in the order of the
	// policy, then what only filters ask for.
	Reads []Read
	// Types and Labels are the policy's words for the arguments, of which the last
	// Data are items of data.
	Types  []policy.ArgType
	Labels []string
	Data   int
	// Message and Tags are copied to the events.
	Message string
	Tags    []string
	// Rules are in the order of the selectors; one that can match nothing is
	// left out.
	Rules []Rule
}

// Guarantee is what enforcing the hook promises, in words for users.
func (h *Hook) Guarantee() string {
	if h.Missed {
		return h.promise() + "; but when the kernel preempts itself, as this one can, not while another task is preempted in the same program; lsmhooks have no such hole"
	}
	return h.promise()
}

func (h *Hook) promise() string {
	overrides := slices.ContainsFunc(h.Rules, func(r Rule) bool { return r.Overrides || r.Noticed && h.Site.Kind.Denies() })
	kills := slices.ContainsFunc(h.Rules, func(r Rule) bool { return r.Signal == sigkill || r.ReturnSignal == sigkill })
	signals := slices.ContainsFunc(h.Rules, func(r Rule) bool { return r.Signal != 0 || r.ReturnSignal != 0 })
	switch {
	case overrides && kills:
		return "prevented, and the process killed"
	case overrides:
		return "prevented"
	case kills:
		return "the process is killed; what it asked for may have happened"
	case signals:
		return "the process is signaled; what it asked for happens"
	case slices.ContainsFunc(h.Rules, func(r Rule) bool { return r.Notifies }):
		return "left to the policy's enforcers"
	case slices.ContainsFunc(h.Rules, func(r Rule) bool { return r.Noticed }):
		return "the process is signaled as the policy's enforcers are told; what it asked for may have happened"
	}
	return "reported"
}

// Policy is a policy that was compiled for one kernel. It is immutable.
type Policy struct {
	*policy.Policy
	Hooks []Hook
}

// Compile compiles a policy. All faults are reported, joined, each a
// *policy.FieldError.
func Compile(p *policy.Policy, k Kernel) (*Policy, error) {
	p, err := p.WithLists(func(syscalls bool) ([]string, error) {
		if syscalls {
			return k.Syscalls()
		}
		return k.Functions()
	})
	if err != nil {
		return nil, err
	}
	compiled := &Policy{Policy: p}
	var faults faults
	for _, h := range apart(p.Hooks) {
		hook, err := compileHook(p, h, k)
		if err != nil {
			faults.errs = append(faults.errs, err)
			if len(faults.errs) == maxFaults {
				faults.errs = append(faults.errs, &policy.FieldError{Reason: fmt.Sprintf("%d hooks have faults; the rest is not shown", maxFaults)})
				break
			}
			continue
		}
		if hook != nil {
			compiled.Hooks = append(compiled.Hooks, *hook)
		}
	}
	enforcers, err := compileEnforcers(p, k)
	if err := errors.Join(faults.join(), err); err != nil {
		return nil, err
	}
	compiled.Hooks = append(compiled.Hooks, enforcers...)
	return compiled, nil
}

// apart gives each call of a list a hook of its own where calls are to fail, and in
// fentries: there programs are for one function each.
func apart(hooks []policy.Hook) []policy.Hook {
	out := make([]policy.Hook, 0, len(hooks))
	for _, h := range hooks {
		if !overrides(h) && h.Section != policy.Fentries || len(h.Calls) < 2 {
			out = append(out, h)
			continue
		}
		for i := range h.Calls {
			one := h
			one.Calls = h.Calls[i : i+1]
			out = append(out, one)
		}
	}
	return out
}

// compileHook is nil for a hook that the kernel has no place for and that may be
// left out.
func compileHook(p *policy.Policy, h policy.Hook, k Kernel) (*Hook, error) {
	path := h.Path()
	var faults faults
	at, err := placeOf(p, h, k)
	if err != nil {
		faults.add(path, err)
		return nil, faults.join()
	}
	if at == nil {
		return nil, nil
	}
	if h.Enforces() {
		if err := k.Can(CanSignal); err != nil && signals(h) {
			faults.add(path, err)
			return nil, faults.join()
		}
	}
	hook := &Hook{
		Site: at.Site, Indirect: at.Indirect, RegsOffset: at.RegsOffset, ResultOffset: at.ResultOffset,
		Frame: at.Frame, Missed: k.Misses(at.Kind, at.Syscall || h.Subsystem == syscalls),
		Section: h.Section, Index: h.Index, Call: callOf(h), Message: h.Message, Tags: h.Tags,
	}
	if err := hook.compileArgs(h, at, k); err != nil {
		return nil, err
	}
	if h, err = h.WithTypes(hook.Types); err != nil {
		return nil, err
	}
	if err := hook.compileReturn(path, h, at, k); err != nil {
		return nil, err
	}
	if hook.Result != nil {
		if h, err = h.WithReturnType(hook.Result.Type); err != nil {
			return nil, err
		}
	}
	for i, s := range h.Selectors {
		rule, err := compileSelector(fmt.Sprintf("%s.selectors[%d]", path, i), s, hook, k)
		if err != nil {
			faults.errs = append(faults.errs, err)
			continue
		}
		if rule != nil {
			rule.Selector = i
			hook.Rules = append(hook.Rules, *rule)
		}
	}
	return hook, faults.join()
}

// callOf is what a hook names, as events tell it.
func callOf(h policy.Hook) string {
	if len(h.Calls) == 1 {
		return h.Calls[0]
	}
	return h.List
}

func signals(h policy.Hook) bool {
	return slices.ContainsFunc(h.Selectors, func(s policy.Selector) bool {
		return slices.ContainsFunc(slices.Concat(s.Actions, s.ReturnActions), func(a policy.Action) bool {
			return a.Kind == policy.Sigkill || a.Kind == policy.Signal || a.Kind == policy.NotifyEnforcer && a.Signal != 0
		})
	})
}

// compileArgs finds the hook's arguments at its place.
func (h *Hook) compileArgs(of policy.Hook, at *place, k Kernel) error {
	var faults faults
	buffers := 0
	for i, arg := range of.Args {
		read, typ, err := at.read(arg, k)
		if err != nil {
			field := ".type"
			switch {
			case errors.Is(err, errNoArg):
				field = ".index"
			case arg.Resolve != "":
				field = ".resolve"
			}
			faults.add(of.ArgPath(i)+field, err)
			continue
		}
		if arg.Source != policy.SourceArg {
			h.Data++
		}
		if read.Buffer() && !slices.Contains(h.Reads, read) {
			buffers++
		}
		h.Reads = append(h.Reads, read)
		h.Types = append(h.Types, typ)
		h.Labels = append(h.Labels, arg.Label)
	}
	if buffers > MaxStrings {
		faults.add(of.Path()+".args", fmt.Errorf("%d strings and structures: at most %d", buffers, MaxStrings))
	}
	return faults.join()
}

// errNoArg says that there is no argument of an index.
var errNoArg = errors.New("no such argument")

// read is how an argument is read at a place, and its type.
func (at *place) read(arg policy.Arg, k Kernel) (Read, policy.ArgType, error) {
	switch {
	case arg.Source == policy.SourceRegister:
		return at.register(arg, k)
	case arg.Resolve != "":
		return at.resolved(arg, k)
	case at.Kind == Tracepoint:
		if _, err := at.field(arg); err != nil {
			return Read{}, arg.Type, err
		}
		return readField(at.Site, at.fields, arg)
	}
	word, err := at.word(arg)
	if err != nil {
		return Read{}, arg.Type, err
	}
	if arg.Type == policy.ArgAuto {
		if arg.Type, err = at.autoType(arg.Index); err != nil {
			return Read{}, arg.Type, err
		}
	}
	if arg.ReturnCopy {
		read, err := at.copied(arg, word)
		return read, arg.Type, err
	}
	size, err := at.number(arg)
	if err != nil {
		return Read{}, arg.Type, err
	}
	read, err := wordRead(word, arg, size, at.Syscall)
	return read, arg.Type, err
}

// field is the field of a record that an argument names.
func (at *place) field(arg policy.Arg) (Field, error) {
	if int(arg.Index) >= len(at.fields) {
		return Field{}, fmt.Errorf("%w: %d: event %s has %d fields, counted from 0", errNoArg, arg.Index, at.Site, len(at.fields))
	}
	return at.fields[arg.Index], nil
}

// word is the offset of an argument in the context.
func (at *place) word(arg policy.Arg) (uint16, error) {
	n := len(at.words)
	if at.prototype.Known {
		n = min(n, len(at.prototype.Params))
	}
	if int(arg.Index) >= n {
		return 0, fmt.Errorf("%w: %d: %s has %d, counted from 0", errNoArg, arg.Index, at.Site, n)
	}
	return at.words[arg.Index], nil
}

// number is the offset in the context of the word that holds an argument's length or
// number of parts, SIZE_UNKNOWN where there is none.
func (at *place) number(arg policy.Arg) (uint16, error) {
	switch {
	case at.Kind == Tracepoint:
		return sizeField(at.fields, arg)
	case arg.SizeArg == 0:
		return uint16(bpf.WireReadSizeSIZE_UNKNOWN), nil
	case int(arg.SizeArg) > len(at.words):
		return 0, fmt.Errorf("sizeArgIndex %d: %s has %d arguments", arg.SizeArg, at.Site, len(at.words))
	}
	return at.words[arg.SizeArg-1], nil
}

// autoType is the type that the kernel's own description of an argument says.
func (at *place) autoType(index uint32) (policy.ArgType, error) {
	switch {
	case at.Syscall:
		return policy.ArgAuto, errors.New("the kernel does not tell the types of a system call's arguments here: name one")
	case !at.prototype.Known:
		return policy.ArgAuto, errors.New("the kernel does not tell the type: name one")
	}
	param := at.prototype.Params[index]
	switch t := param.auto(); {
	case t != policy.ArgAuto:
		return t, nil
	case param.Struct != "":
		return t, fmt.Errorf("argument %s points to %s, which has no type of its own: name one", param.Name, param.Struct)
	}
	return policy.ArgAuto, fmt.Errorf("argument %s has no type of its own: name one", param.Name)
}

// auto is the type that the kernel's own description of a parameter stands for.
func (p Param) auto() policy.ArgType {
	if p.Struct != "" {
		return structTypes()[p.Struct]
	}
	return autoInteger(p.Size, p.Signed)
}

// structTypes are the types of arguments that point to structures of the kernel.
func structTypes() map[string]policy.ArgType {
	return map[string]policy.ArgType{
		"char": policy.ArgString, "file": policy.ArgFile, "path": policy.ArgPath, "dentry": policy.ArgDentry,
		"linux_binprm": policy.ArgBinprm, "sock": policy.ArgSock, "socket": policy.ArgSocket,
		"sockaddr": policy.ArgSockaddr, "sk_buff": policy.ArgSkb, "cred": policy.ArgCred,
		"sockaddr_un": policy.ArgSockaddrUn, "filename": policy.ArgFilename, "kiocb": policy.ArgKiocb,
		"net_device": policy.ArgNetDevice, "iov_iter": policy.ArgIovIter, "user_namespace": policy.ArgUserNamespace,
		"bpf_attr": policy.ArgBPFAttr, "bpf_prog": policy.ArgBPFProg, "bpf_map": policy.ArgBPFMap,
		"perf_event": policy.ArgPerfEvent, "module": policy.ArgModule, "load_info": policy.ArgLoadInfo,
		// Before Linux 6.3 the structure has a name.
		"kernel_cap_struct": policy.ArgKernelCap, "kernel_cap_t": policy.ArgKernelCap,
	}
}

// filterRead is the position of a read that a filter asks for; it is added when
// it is new.
func (h *Hook) filterRead(r Read) int {
	i := slices.Index(h.Reads, r)
	if i < 0 {
		i, h.Reads = len(h.Reads), append(h.Reads, r)
	}
	return i
}

// compileSelector is the rule of a selector, nil when it can match nothing.
func compileSelector(path string, s policy.Selector, hook *Hook, k Kernel) (*Rule, error) {
	rule := &Rule{Post: s.Posts(), Workload: s.Workload, Label: s.Label}
	var faults faults
	for i, a := range s.Actions {
		at := fmt.Sprintf("%s.matchActions[%d]", path, i)
		if err := rule.addAction(a, hook); err != nil {
			faults.add(at, err)
		}
		if err := k.Can(CanHashFile); a.Hash && err != nil {
			faults.add(at+".imaHash", err)
		}
	}
	c := conjunction{hook: hook}
	for i, f := range s.Args {
		if err := c.addArg(f); err != nil {
			faults.add(fmt.Sprintf("%s.matchArgs[%d].operator", path, i), err)
		}
	}
	for i, f := range s.Data {
		if err := c.addArg(f); err != nil {
			faults.add(fmt.Sprintf("%s.matchData[%d].operator", path, i), err)
		}
	}
	rule.Lineages = append(rule.Lineages, c.addBinaries(s.Binaries, false)...)
	rule.Lineages = append(rule.Lineages, c.addBinaries(s.ParentBinaries, true)...)
	rule.Lineages = append(rule.Lineages, c.addPIDs(s.PIDs)...)
	c.addProcess(path, s, k, &faults)
	c.addChanges(path, s, k, &faults)
	if err := faults.join(); err != nil {
		return nil, err
	}
	var possible bool
	if rule.Filters, possible = c.filters(); !possible {
		return nil, nil
	}
	return rule, rule.addReturn(path, s, hook)
}
