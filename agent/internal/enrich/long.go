// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/process"
	"github.com/boltseal/boltseal/api/v1/tetragon"
	"github.com/boltseal/boltseal/bpf"
)

// longExec is the texts of an exec that its event has no room for: strings with a NUL
// at the end of each, but of the last one where the text was cut.
type longExec struct {
	args, env string
	// What is missing of the texts themselves.
	missing bpf.WireExecFlags
}

const (
	// maxTexts is what arguments and environment of one message may take: clients of
	// gRPC take messages up to 4 MiB as a rule.
	maxTexts = 3 << 20
	// maxLongBytes is what all messages together may take that have such texts, and that
	// somebody still has to read.
	maxLongBytes = 64 << 20
	// variableBytes is about what a variable takes beside its characters.
	variableBytes = 96
)

const textsMissing = bpf.WireExecFlagsEXEC_ARGS_TRUNCATED | bpf.WireExecFlagsEXEC_ENV_TRUNCATED |
	bpf.WireExecFlagsEXEC_ARGS_UNREADABLE | bpf.WireExecFlagsEXEC_ENV_UNREADABLE

// keep leaves an event with what is remembered of its texts, and flags that say so.
func (e *Enricher) keep(of *event.Exec, long *longExec) {
	if long == nil {
		of.Env = slices.DeleteFunc(of.Env, func(variable string) bool { return !e.tells(variable) })
		return
	}
	long.missing = of.Flags & textsMissing
	var whole bool
	if of.Args, whole = process.Keep(long.args); !whole {
		of.Flags |= bpf.WireExecFlagsEXEC_ARGS_TRUNCATED
	}
	if len(e.Variables) > 0 {
		var told strings.Builder
		for variable := range strings.SplitSeq(strings.TrimSuffix(long.env, "\x00"), "\x00") {
			if e.tells(variable) {
				told.WriteString(variable)
				told.WriteByte(0)
			}
		}
		long.env = told.String()
	}
	if of.Env, whole = process.Keep(long.env); !whole {
		of.Flags |= bpf.WireExecFlagsEXEC_ENV_TRUNCATED
	}
}

// tells tells whether a variable is one that messages have.
func (e *Enricher) tells(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return len(e.Variables) == 0 || slices.Contains(e.Variables, name)
}

func envVar(variable string) *tetragon.EnvVar {
	key, value, _ := strings.Cut(variable, "=")
	return &tetragon.EnvVar{Key: valid(key), Value: valid(value)}
}

// whole is the message of an exec with its texts in full. It is m itself, which has
// what is remembered of them, while too much of others waits to be read.
func (e *Enricher) whole(m *tetragon.Process, p *process.Process, long *longExec) *tetragon.Process {
	if e.longBytes.Load() > maxLongBytes {
		return m
	}
	copied, ok := proto.Clone(m).(*tetragon.Process)
	if !ok {
		return m
	}
	room := maxTexts
	missing := process.Flags(0)
	if copied.Arguments, ok = longArguments(long.args, &room); !ok || long.missing&bpf.WireExecFlagsEXEC_ARGS_TRUNCATED != 0 {
		missing |= process.TruncArgs
	}
	if e.Environment {
		const lost = bpf.WireExecFlagsEXEC_ENV_TRUNCATED | bpf.WireExecFlagsEXEC_ENV_UNREADABLE
		if copied.EnvironmentVariables, ok = longEnvironment(long.env, &room); !ok || long.missing&lost != 0 {
			missing |= process.ErrorEnvs
		}
	}
	copied.Flags = flags(p.Flags&^(process.TruncArgs|process.ErrorEnvs)|missing, copied)
	takes := int64(maxTexts - room)
	e.longBytes.Add(takes)
	runtime.AddCleanup(copied, func(all *atomic.Int64) { all.Add(-takes) }, &e.longBytes)
	return copied
}

// longArguments is as arguments, up to room, which is taken from; whole is false when
// there are more.
func longArguments(text string, room *int) (joined string, whole bool) {
	const quotes = len(` ""`)
	var b strings.Builder
	first := true
	for a := range strings.SplitSeq(strings.TrimSuffix(text, "\x00"), "\x00") {
		if first {
			first = false // argv[0]
			continue
		}
		if a = valid(a); len(a)+quotes > *room {
			addArgument(&b, valid(a[:max(0, *room-quotes)]))
			*room = 0
			return b.String(), false
		}
		before := b.Len()
		addArgument(&b, a)
		*room -= b.Len() - before
	}
	return b.String(), true
}

// longEnvironment is the variables of a text, up to room, which is taken from; whole
// is false when there are more.
func longEnvironment(text string, room *int) (all []*tetragon.EnvVar, whole bool) {
	if text == "" {
		return nil, true
	}
	for variable := range strings.SplitSeq(strings.TrimSuffix(text, "\x00"), "\x00") {
		if variable = valid(variable); variableBytes+len(variable) > *room {
			return all, false
		}
		*room -= variableBytes + len(variable)
		all = append(all, envVar(variable))
	}
	return all, true
}
