// SPDX-License-Identifier: Apache-2.0

package enrich

import "github.com/boltseal/boltseal/agent/internal/event"

// maxRests is how many bytes are kept of events that have not come yet. An event
// can be lost when its bytes are not: all are forgotten when there are more.
const maxRests = 8 << 20

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

// join puts the bytes where they belong, as far as none is missing.
func (r *rests) join(of *event.Site) {
	if of.Data == 0 {
		return
	}
	key := restKey{of.Tid, of.Data}
	var parts [len(of.Strings)][]byte
	for _, d := range r.of[key] {
		r.bytes -= len(d.Bytes)
		if parts[d.String] == nil {
			parts[d.String] = []byte(of.Strings[d.String].Value)
		}
		if len(parts[d.String]) == d.Offset {
			parts[d.String] = append(parts[d.String], d.Bytes...)
		}
	}
	delete(r.of, key)
	for i, bytes := range parts {
		if bytes != nil {
			of.Strings[i].Value = string(bytes)
		}
	}
}
