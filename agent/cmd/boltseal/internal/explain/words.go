// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/agent/internal/policy/compile"
)

// maxListed is how many values of a list are told.
const maxListed = 8

// listed joins values, the first of them where there are many.
func listed(values []string, joiner string) string {
	if len(values) <= maxListed {
		return join(values, joiner)
	}
	return strings.Join(values[:maxListed], ", ") + fmt.Sprintf(" %s %d more", joiner, len(values)-maxListed)
}

func join(values []string, joiner string) string {
	if len(values) < 2 {
		return strings.Join(values, "")
	}
	last := len(values) - 1
	return strings.Join(values[:last], ", ") + " " + joiner + " " + values[last]
}

func quoted(values []string) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		out = append(out, strconv.Quote(v))
	}
	return out
}

// subjects is for whom a policy is.
func subjects(p *policy.Policy) []string {
	selects := p.PodSelector != nil || p.ContainerSelector != nil
	lines := []string{processes(p)}
	lines = append(lines, requirements(p.PodSelector, "the pod's ")...)
	lines = append(lines, requirements(p.ContainerSelector, "")...)
	switch {
	case selects && p.HostSelector:
		lines = append(lines, "and the processes of the host")
	case selects, p.Kind == policy.Namespaced:
		lines = append(lines, "not the host")
	}
	for _, node := range requirements(p.NodeSelector, "the node's ") {
		lines = append(lines, "only "+node)
	}
	if !p.HostSelector || selects {
		lines = append(lines, "in a container from its entrypoint on, in whatever it starts")
	}
	return lines
}

// processes is whose processes a policy is for, before labels choose among them.
func processes(p *policy.Policy) string {
	pods, containers := p.PodSelector, p.ContainerSelector
	switch {
	case p.Kind == policy.Namespaced:
		return fmt.Sprintf("containers of pods in the namespace %q", p.Namespace)
	case pods != nil:
		return "containers that are in a pod"
	case containers == nil && p.HostSelector:
		return "processes of the host, outside of containers"
	case containers == nil:
		return "every process: all containers, and the host"
	case containers.Empty():
		return "every container"
	}
	return "containers"
}

func requirements(s *policy.LabelSelector, whose string) []string {
	if s == nil {
		return nil
	}
	var lines []string
	for _, r := range s.Requirements {
		subject := whose + "label " + r.Key
		switch {
		case whose != "":
			if r.Key == "k8s:io.kubernetes.pod.namespace" {
				subject = whose + "namespace"
			}
		case r.Key == "name":
			subject = "the container's name"
		case r.Key == "repo":
			subject = "the image's repository"
		default:
			subject = "the label or annotation " + r.Key
		}
		switch values := listed(quoted(r.Values), "or"); r.Op {
		case policy.LabelIn:
			lines = append(lines, "where "+subject+" is "+values)
		case policy.LabelNotIn:
			lines = append(lines, "where "+subject+" is not "+values+", or is missing")
		case policy.LabelExists:
			lines = append(lines, "where "+subject+" is there")
		case policy.LabelDoesNotExist:
			lines = append(lines, "where "+subject+" is missing")
		}
	}
	return lines
}

// when is a hook's occasion.
func when(h policy.Hook) string {
	switch h.Section {
	case policy.Tracepoints:
		return eventWords(h)
	case policy.LSMHooks:
		return "the kernel asks the security hook " + strings.Join(h.Calls, ", ")
	}
	text := callsWords(h.Calls)
	if h.List != "" {
		text += fmt.Sprintf(" (list %s)", h.List)
	}
	return text
}

func eventWords(h policy.Hook) string {
	switch call, enters := strings.CutPrefix(h.Event, "sys_enter_"); {
	case h.Raw:
		return "the kernel comes to the raw tracepoint " + h.Event
	case h.Subsystem == "syscalls" && enters:
		return "a process enters the system call " + call
	case h.Subsystem == "syscalls":
		return "a process leaves the system call " + strings.TrimPrefix(h.Event, "sys_exit_")
	}
	return "the kernel comes to the event " + h.Subsystem + "/" + h.Event
}

// callsWords is system calls and functions that are called, those of a kind together.
func callsWords(calls []string) string {
	var kinds []string
	names := map[string][]string{}
	for _, call := range calls {
		kind, name := callKind(call)
		kinds = appendNew(kinds, kind)
		names[kind] = append(names[kind], name)
	}
	for i, kind := range kinds {
		kinds[i] = kind + " " + listed(names[kind], "or")
	}
	return join(kinds, "or")
}

func callKind(call string) (kind, name string) {
	abi, rest, named := strings.Cut(call, "/")
	if !named {
		rest = call
	}
	short, isCall := strings.CutPrefix(rest, "sys_")
	switch {
	case !isCall:
		return "the kernel calls", call
	case named && (abi == "i386" || abi == "arm32"):
		return "a process enters the 32-bit system call", short
	}
	return "a process enters the system call", short
}

// argNames are what the arguments are called: by the policy, or else by the kernel.
func argNames(h policy.Hook, k Kernel) []string {
	var known []string
	switch {
	case h.Section == policy.Tracepoints && h.Raw:
		p, _ := k.RawTracepoint(h.Event) // what is missing is told as a refusal
		known = paramNames(p)
	case h.Section == policy.Tracepoints:
		fields, _ := k.Tracepoint(h.Subsystem, h.Event)
		for _, f := range fields {
			known = append(known, f.Name)
		}
	case h.Section == policy.LSMHooks:
		p, _ := k.Hook(h.Calls[0])
		known = paramNames(p)
	case !h.Syscall && len(h.Calls) == 1:
		p, _ := k.Function(h.Calls[0])
		known = paramNames(p)
	}
	names := make([]string, len(h.Args))
	for i, a := range h.Args {
		switch {
		case a.Label != "":
			names[i] = a.Label
		case int(a.Index) < len(known) && known[a.Index] != "":
			names[i] = known[a.Index]
		default:
			names[i] = fmt.Sprintf("argument %d", a.Index)
		}
	}
	return names
}

func paramNames(p compile.Prototype) []string {
	var names []string
	for _, param := range p.Params {
		names = append(names, param.Name)
	}
	return names
}

func readWords(name string, a policy.Arg) string {
	text := fmt.Sprintf("%s (index %d) as %s", name, a.Index, a.Type)
	if a.SizeArg > 0 {
		text += fmt.Sprintf(", as long as argument %d says", a.SizeArg-1)
	}
	if a.ReturnCopy {
		text += ", as it is when the function returns"
	}
	return text
}

// conditions are what must hold for a selector.
func conditions(s policy.Selector, args []policy.Arg, names []string) []string {
	all := []string{}
	for _, f := range s.Args {
		all = append(all, names[f.Arg]+" "+comparison(f.Op, f.Values, args[f.Arg].Type))
	}
	for _, f := range s.Binaries {
		text := "the process' binary " + comparison(f.Op, f.Values, policy.ArgString)
		if f.FollowChildren {
			text += " (or it descends from one)"
		}
		all = append(all, text)
	}
	for _, f := range s.PIDs {
		all = append(all, pidWords(f))
	}
	for _, f := range s.Namespaces {
		all = append(all, namespaceWords(f))
	}
	for _, f := range s.Capabilities {
		all = append(all, capabilityWords(f))
	}
	return all
}

// comparison is an operator with its values, as what follows a subject of a type.
func comparison(op policy.Operator, values []string, t policy.ArgType) string {
	words, ok := operators()[op]
	if !ok {
		words = op.String()
	}
	if t == policy.ArgSockaddr {
		// What it holds is neither the source nor the destination of anything.
		words = strings.Replace(words, "source ", "", 1)
	}
	if len(values) == 0 {
		return words
	}
	if t.Text() || t == policy.ArgAuto {
		values = quoted(values)
	}
	return words + " " + listed(values, "or")
}

func operators() map[policy.Operator]string {
	return map[policy.Operator]string{
		policy.OpEqual: "is", policy.OpNotEqual: "is not", policy.OpIn: "is", policy.OpNotIn: "is not",
		policy.OpPrefix: "begins with", policy.OpNotPrefix: "does not begin with",
		policy.OpPostfix: "ends with", policy.OpNotPostfix: "does not end with",
		policy.OpGreaterThan: "is greater than", policy.OpLessThan: "is less than",
		policy.OpInRange: "is in", policy.OpNotInRange: "is not in", policy.OpInMap: "is in", policy.OpNotInMap: "is not in",
		policy.OpMask:  "has a bit of",
		policy.OpSPort: "has the source port", policy.OpNotSPort: "has not the source port",
		policy.OpSPortPriv: "has a source port below 1024", policy.OpNotSPortPriv: "has no source port below 1024",
		policy.OpDPort: "has the destination port", policy.OpNotDPort: "has not the destination port",
		policy.OpDPortPriv: "has a destination port below 1024", policy.OpNotDPortPriv: "has no destination port below 1024",
		policy.OpSAddr: "has a source address in", policy.OpNotSAddr: "has no source address in",
		policy.OpDAddr: "has a destination address in", policy.OpNotDAddr: "has no destination address in",
		policy.OpProtocol: "has the protocol", policy.OpFamily: "has the family", policy.OpState: "is in the state",
	}
}

func isOrNot(negated bool) string {
	if negated {
		return "is not"
	}
	return "is"
}

func numbers(values []uint32) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		out = append(out, strconv.FormatUint(uint64(v), 10))
	}
	return out
}

func pidWords(f policy.PIDFilter) string {
	text := "the process' id"
	if f.NamespacePID {
		text += " in its own pid namespace"
	}
	text += " " + isOrNot(f.Negated) + " " + listed(numbers(f.Values), "or")
	if f.FollowForks {
		text += " (or it descends from one)"
	}
	return text
}

func namespaceWords(f policy.NamespaceFilter) string {
	values := numbers(f.Values)
	if f.Host {
		values = append(values, "the host's")
	}
	return fmt.Sprintf("the process' %s namespace %s %s", f.Namespace, isOrNot(f.Negated), listed(values, "or"))
}

func capabilityWords(f policy.CapabilityFilter) string {
	var names []string
	for n := range 64 {
		if f.Mask&(1<<n) != 0 {
			names = append(names, policy.CapabilityName(n))
		}
	}
	has := "has any of"
	if f.Negated {
		has = "has none of"
	}
	text := fmt.Sprintf("the process %s %s in its %s set", has, listed(names, "and"), strings.ToLower(f.Set.String()))
	if f.Namespaced {
		text += ", and is in a user namespace of its own"
	}
	return text
}

// actions are what is done when a selector matches.
func actions(s policy.Selector, mode policy.Mode) []string {
	all := actionsWords(s.Actions, mode)
	if s.Posts() && !slices.ContainsFunc(s.Actions, func(a policy.Action) bool { return a.Kind == policy.Post }) {
		all = append(all, "report it")
	}
	return all
}

func actionsWords(actions []policy.Action, mode policy.Mode) (all []string) {
	for _, a := range actions {
		text := actionWords(a)
		if a.Kind.Enforces() && mode == policy.Monitor {
			text += " (in mode enforce; only reported now)"
		}
		all = append(all, text)
	}
	return all
}

// returned is what a selector asks of what the function returns, and does then. What
// is reported of it is reported then.
func returned(h policy.Hook, s policy.Selector, mode policy.Mode) (conditions, then []string) {
	conditions, then = []string{}, append([]string{}, actionsWords(s.ReturnActions, mode)...)
	if !h.Returns() {
		return conditions, then
	}
	for _, f := range s.ReturnArgs {
		conditions = append(conditions, "what it returned "+comparison(f.Op, f.Values, h.ReturnArg.Type))
	}
	return conditions, then
}

func actionWords(a policy.Action) string {
	switch a.Kind {
	case policy.Post:
		return postWords(a)
	case policy.NoPost:
		return "do not report it"
	case policy.Sigkill:
		return "kill the process"
	case policy.Signal:
		return "send the process " + signalWords(a.Signal)
	case policy.Override:
		return "make it " + resultWords(a.Error)
	case policy.NotifyEnforcer:
		var asked []string
		if a.Error != 0 {
			asked = append(asked, "make the call "+resultWords(a.Error))
		}
		if a.Signal != 0 {
			asked = append(asked, "send "+signalWords(a.Signal))
		}
		return "have the policy's enforcers " + join(asked, "and")
	case policy.CleanupEnforcerNotification:
		return "take back what the policy's enforcers were asked for and have not done"
	case policy.GetURL:
		return "have the agent get " + a.Target
	case policy.DNSLookup:
		return "have the agent look " + a.Target + " up"
	case policy.TrackSock:
		return "take what happens to " + sockWords(a.Sock) + " from now on for the process's doing"
	case policy.UntrackSock:
		return "take what happens to " + sockWords(a.Sock) + " for nobody's doing again"
	}
	return a.Kind.String()
}

func sockWords(at int) string {
	if at == policy.ReturnValue {
		return "the socket that it returned"
	}
	return fmt.Sprintf("the socket in args[%d]", at)
}

// postWords are what a Post says of its events.
func postWords(a policy.Action) string {
	text := "report it"
	var with []string
	if a.KernelStack {
		with = append(with, "the kernel's stack")
	}
	if a.UserStack {
		with = append(with, "the process's stack")
	}
	if a.Hash {
		with = append(with, "the file's hash")
	}
	if len(with) > 0 {
		text += " with " + join(with, "and")
	}
	if a.RateLimit == 0 {
		return text
	}
	whom := map[policy.RateScope]string{
		policy.RateThread: "each thread", policy.RateProcess: "each process", policy.RateGlobal: "everybody together",
	}[a.RateScope]
	return fmt.Sprintf("%s, with the same arguments not again within %s for %s", text, a.RateLimit, whom)
}

func signalWords(n uint8) string {
	if name := unix.SignalName(unix.Signal(n)); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", n)
}

// resultWords is what a call does that returns a number.
func resultWords(n int32) string {
	if n < 0 {
		if name := unix.ErrnoName(unix.Errno(-n)); name != "" {
			return fmt.Sprintf("fail with %s", name)
		}
	}
	return fmt.Sprintf("return %d without being done", n)
}

// mechanism is how a hook is there.
func mechanism(s compile.Site) string {
	switch s.Kind {
	case compile.Tracepoint:
		return "a program at the event " + s.String()
	case compile.RawTracepoint:
		return "a program at the raw tracepoint " + s.Name
	case compile.Kprobe:
		switch several := len(s.Functions()) > 1; {
		case s.Multi:
			return "one kprobe at all of " + functions(s)
		case several:
			return "a kprobe at each of " + functions(s)
		}
		return "a kprobe at " + functions(s)
	case compile.KprobeOverride:
		return "a kprobe at " + functions(s) + " that can override its result (error injection)"
	case compile.ModifyReturn:
		return "an fmod_ret program at " + functions(s)
	case compile.LSM:
		return "a BPF LSM program at the security hook " + s.Name
	case compile.Fentry:
		return "an fentry program at " + functions(s)
	}
	return s.String()
}

func functions(s compile.Site) string { return listed(s.Functions(), "and") }
