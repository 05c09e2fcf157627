// SPDX-License-Identifier: Apache-2.0

package enrich

import (
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/agent/internal/policy"
)

// Bytes that come before their event are put behind those that it has; where some
// are missing, none of those after them.
func TestRestsOfBytes(t *testing.T) {
	t.Parallel()
	data := func(tid uint32, id uint64, at, offset int, bytes string) *event.Data {
		return &event.Data{Header: event.Header{Tid: tid}, ID: id, String: at, Offset: offset, Bytes: bytes}
	}
	for _, c := range []struct {
		name string
		data []*event.Data
		want [2]string
		cut  bool
	}{
		{"nothing", nil, [2]string{"ab", "cd"}, true},
		{"all", []*event.Data{data(7, 9, 0, 2, "xy"), data(7, 9, 0, 4, "z"), data(7, 9, 1, 2, "uvw")}, [2]string{"abxyz", "cduvw"}, false},
		{"a gap", []*event.Data{data(7, 9, 0, 2, "x"), data(7, 9, 0, 4, "z")}, [2]string{"abx", "cd"}, true},
		{"another task's", []*event.Data{data(8, 9, 0, 2, "xyz")}, [2]string{"ab", "cd"}, true},
		{"another event's", []*event.Data{data(7, 8, 0, 2, "xyz")}, [2]string{"ab", "cd"}, true},
	} {
		w := newWorld(t)
		for _, d := range c.data {
			w.Handle(d)
		}
		of := siteEvent([]int{1}, nil)
		of.Tid, of.Data = 7, 9
		of.Strings[0], of.Strings[1] = event.String{Value: "ab", Mode: 5}, event.String{Value: "cd", Mode: 5}
		w.rules.known[ruleKey{3, 4, 1}] = Rule{Args: []Arg{{Type: policy.ArgCharBuf}, {Type: policy.ArgCharBuf, String: 1}}}
		w.Handle(of)
		for i, arg := range w.sink.take(t)[0].GetProcessTracepoint().GetArgs() {
			got := string(arg.GetBytesArg())
			if cut := arg.GetTruncatedBytesArg(); cut != nil {
				got = string(cut.GetBytesArg())
			}
			if got != c.want[i] || (arg.GetTruncatedBytesArg() != nil) != c.cut {
				t.Errorf("%s: argument %d is %v, want %q", c.name, i, arg, c.want[i])
			}
		}
	}
}

// What is kept of events that never come has a bound.
func TestRestsAreForgotten(t *testing.T) {
	t.Parallel()
	var r rests
	for id := range uint64(3 * maxRests >> 14) {
		r.keep(&event.Data{ID: id, Bytes: strings.Repeat("x", 1<<14)})
	}
	held := 0
	for _, parts := range r.of {
		for _, d := range parts {
			held += len(d.Bytes)
		}
	}
	if held != r.bytes || held > maxRests || held == 0 {
		t.Errorf("%d bytes are held, %d counted, at most %d", held, r.bytes, maxRests)
	}
}
