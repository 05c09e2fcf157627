// SPDX-License-Identifier: Apache-2.0

// Package compact writes events as lines for people. It is pure. Text that a
// process chose is quoted, so that it can neither forge a line nor reach the
// terminal.
package compact

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// maxText bounds one text of a line in bytes: command lines can have megabytes.
const maxText = 256

const timeFormat = "2006-01-02T15:04:05.000000Z"

// Line is one event as one line without its newline: time, kind, container,
// process, and what the kind has to tell.
func Line(e *tetragon.GetEventsResponse) string {
	words := []string{stamp(e)}
	switch event := e.GetEvent().(type) {
	case *tetragon.GetEventsResponse_ProcessExec:
		words = append(words, "exec")
		words = append(words, process(event.ProcessExec.GetProcess(), true)...)
	case *tetragon.GetEventsResponse_ProcessExit:
		words = append(words, "exit")
		words = append(words, process(event.ProcessExit.GetProcess(), false)...)
		words = append(words, end(event.ProcessExit))
	case *tetragon.GetEventsResponse_ProcessTracepoint:
		words = append(words, "tracepoint")
		words = append(words, process(event.ProcessTracepoint.GetProcess(), false)...)
		words = append(words, rule(event.ProcessTracepoint.GetSubsys()+"/"+event.ProcessTracepoint.GetEvent(), event.ProcessTracepoint)...)
	case *tetragon.GetEventsResponse_ProcessKprobe:
		words = append(words, "kprobe")
		words = append(words, process(event.ProcessKprobe.GetProcess(), false)...)
		words = append(words, rule(event.ProcessKprobe.GetFunctionName(), event.ProcessKprobe)...)
	case *tetragon.GetEventsResponse_ProcessLsm:
		words = append(words, "lsm")
		words = append(words, process(event.ProcessLsm.GetProcess(), false)...)
		words = append(words, rule(event.ProcessLsm.GetFunctionName(), event.ProcessLsm)...)
	case *tetragon.GetEventsResponse_RateLimitInfo:
		words = append(words, "lost", strconv.FormatUint(event.RateLimitInfo.GetNumberOfDroppedProcessEvents(), 10), "events")
	case *tetragon.GetEventsResponse_ProcessThrottle:
		t := event.ProcessThrottle
		words = append(words, "throttle", strings.ToLower(strings.TrimPrefix(t.GetType().String(), "THROTTLE_")), quote.Word(t.GetCgroup()))
	case *tetragon.GetEventsResponse_Test:
		t := event.Test
		words = append(words, "test")
		for _, n := range []uint64{t.GetArg0(), t.GetArg1(), t.GetArg2(), t.GetArg3()} {
			words = append(words, strconv.FormatUint(n, 10))
		}
	default:
		words = append(words, other(e))
	}
	return strings.Join(words, " ")
}

// Stacks is the stacks of an event as lines to follow its own, innermost function
// first: nil when it has none.
func Stacks(e *tetragon.GetEventsResponse) []string {
	var lines []string
	for _, stack := range []struct {
		title   string
		entries []*tetragon.StackTraceEntry
	}{{"kernel:", e.GetProcessKprobe().GetKernelStackTrace()}, {"user:", e.GetProcessKprobe().GetUserStackTrace()}} {
		if len(stack.entries) == 0 {
			continue
		}
		lines = append(lines, "  "+stack.title)
		for _, f := range stack.entries {
			lines = append(lines, "    "+frame(f))
		}
	}
	return lines
}

// frame is one function of a stack: address, function, offset in it, and module, as
// far as they are known.
func frame(f *tetragon.StackTraceEntry) string {
	var words []string
	if f.GetAddress() != 0 {
		words = append(words, "0x"+strconv.FormatUint(f.GetAddress(), 16))
	}
	name := "?"
	if f.GetSymbol() != "" {
		name = quote.Word(f.GetSymbol())
	}
	words = append(words, name+"+0x"+strconv.FormatUint(f.GetOffset(), 16))
	if f.GetModule() != "" {
		words = append(words, "("+quote.Word(f.GetModule())+")")
	}
	return strings.Join(words, " ")
}

func stamp(e *tetragon.GetEventsResponse) string {
	if e.GetTime() == nil {
		return "-"
	}
	return e.GetTime().AsTime().In(time.UTC).Format(timeFormat)
}

// other names an event of a kind that has no form here: it happened all the same.
func other(e *tetragon.GetEventsResponse) string {
	m := e.ProtoReflect()
	field := m.WhichOneof(m.Descriptor().Oneofs().ByName("event"))
	if field == nil {
		return "unknown"
	}
	return string(field.Name()) + " (see -o json)"
}

// process is where and what a process is.
func process(p *tetragon.Process, arguments bool) []string {
	words := []string{Container(p), "pid=" + pid(p), quote.Word(p.GetBinary())}
	if arguments && p.GetArguments() != "" {
		words = append(words, quote.String(p.GetArguments(), maxText))
	}
	return words
}

func pid(p *tetragon.Process) string {
	if p.GetPid() == nil {
		return "-"
	}
	return strconv.FormatUint(uint64(p.GetPid().GetValue()), 10)
}

// Container names the container of a process: by pod and name as far as they are
// known, else by id; "host" when it is in none.
func Container(p *tetragon.Process) string {
	c := p.GetPod().GetContainer()
	name := cmp.Or(c.GetName(), c.GetId(), p.GetDocker())
	if pod := p.GetPod(); pod.GetName() != "" {
		return quote.Word(pod.GetNamespace() + "/" + pod.GetName() + "/" + name)
	}
	if name == "" {
		return "host"
	}
	return quote.Word(name)
}

func end(e *tetragon.ProcessExit) string {
	if e.GetSignal() != "" {
		return "signal=" + quote.Word(e.GetSignal())
	}
	return "status=" + strconv.FormatUint(uint64(e.GetStatus()), 10)
}

// ofRule is an event that a policy's rule made.
type ofRule interface {
	GetArgs() []*tetragon.KprobeArgument
	GetPolicyName() string
	GetAction() tetragon.KprobeAction
	GetMessage() string
}

// rule is what a rule saw at a site, and did.
func rule(site string, t ofRule) []string {
	words := []string{quote.Word(site)}
	for _, a := range t.GetArgs() {
		text := argument(a)
		if a.GetLabel() != "" {
			text = quote.Word(a.GetLabel()) + "=" + text
		}
		words = append(words, text)
	}
	if t.GetPolicyName() != "" {
		words = append(words, "policy="+quote.Word(t.GetPolicyName()))
	}
	words = append(words, "action="+Action(t.GetAction()))
	if t.GetMessage() != "" {
		words = append(words, "message="+quote.String(t.GetMessage(), maxText))
	}
	return words
}

// Action is an action in the words of policies, in lower case.
func Action(a tetragon.KprobeAction) string {
	return strings.ToLower(strings.TrimPrefix(a.String(), "KPROBE_ACTION_"))
}
