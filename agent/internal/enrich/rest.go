// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/bpf"
)

// maxRests is how many bytes are kept of events that have not come yet. An event
// can be lost when its bytes are not: all are forgotten when there are more.
const maxRests = 16 << 20

// rests is the bytes that events have no room for. They come before their event.
type rests struct {
	of    map[restKey][]*event.Data
	bytes int
}

type restKey struct {
	tid uint32
	id  uint64
}

func (r *rests) keep(d *event.Data) {
	if r.of == nil || r.bytes+len(d.Bytes) > maxRests {
		r.of, r.bytes = map[restKey][]*event.Data{}, 0
	}
	key := restKey{d.Tid, d.ID}
	r.of[key] = append(r.of[key], d)
	r.bytes += len(d.Bytes)
}

// take takes out what is kept of an event.
func (r *rests) take(key restKey) []*event.Data {
	all := r.of[key]
	for _, d := range all {
		r.bytes -= len(d.Bytes)
	}
	delete(r.of, key)
	return all
}

// joinExec puts the texts of an exec together, as far as nothing is missing; nil when
// the event has all there is of them.
func (r *rests) joinExec(of *event.Exec) *longExec {
	if of.Data == 0 {
		return nil
	}
	parts := r.take(restKey{of.Tid, of.Data})
	long := &longExec{
		args: joinText(of.Args, parts, int(bpf.WireExecTextEXEC_ARGS)),
		env:  joinText(of.Env, parts, int(bpf.WireExecTextEXEC_ENV)),
	}
	if uint64(len(long.args)) < uint64(of.ArgsSize) {
		of.Flags |= bpf.WireExecFlagsEXEC_ARGS_TRUNCATED
	}
	if uint64(len(long.env)) < uint64(of.EnvSize) {
		of.Flags |= bpf.WireExecFlagsEXEC_ENV_TRUNCATED
	}
	return long
}

// joinText puts a text together of what its event has of it and what came before.
func joinText(begin []string, parts []*event.Data, text int) string {
	var b strings.Builder
	for _, s := range begin {
		b.WriteString(s)
		b.WriteByte(0)
	}
	whole := b.String()
	// Whether the last string was cut the event does not tell, but where the next part
	// goes on.
	first := slices.IndexFunc(parts, func(d *event.Data) bool { return d.String == text })
	if first < 0 {
		return whole
	}
	if at := parts[first].Offset; at == len(whole)-1 {
		b.Reset()
		b.WriteString(whole[:at])
	}
	for _, d := range parts[first:] {
		if d.String == text && d.Offset == b.Len() {
			b.WriteString(d.Bytes)
		}
	}
	return b.String()
}

// join puts the bytes where they belong, as far as none is missing.
func (r *rests) join(of *event.Site) {
	if of.Data == 0 {
		return
	}
	key := restKey{of.Tid, of.Data}
	var parts [len(of.Strings)][]byte
	for _, d := range r.take(key) {
		if parts[d.String] == nil {
			parts[d.String] = []byte(of.Strings[d.String].Value)
		}
		if len(parts[d.String]) == d.Offset {
			parts[d.String] = append(parts[d.String], d.Bytes...)
		}
	}
	for i, bytes := range parts {
		if bytes != nil {
			of.Strings[i].Value = string(bytes)
		}
	}
}
