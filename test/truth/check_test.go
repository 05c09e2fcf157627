// SPDX-License-Identifier: Apache-2.0

//go:build linux

package truth

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// tick is what /proc counts start times in, in ns.
const tick = 10_000_000

// spectator is the test: the parent of node 0.
type spectator struct {
	auid, self uint32 // its login user and its pid
	image      string // what it executes
}

// checker compares the story of a performance with a stream.
type checker struct {
	*story
	*stream
	spectator
	// events are those of each life, ids the exec ids that its images had; 0 for one
	// that was only forked.
	events [][]*told
	ids    []map[int]string
	claims map[*told]*life
	// wrong is how the two differ.
	wrong []string
}

// compare returns how a stream differs from what a performance did.
func compare(p *performance, s *stream, by spectator) []string {
	c := &checker{story: read(p), stream: s, spectator: by, claims: map[*told]*life{}}
	if len(c.faults) > 0 {
		return c.faults
	}
	c.events, c.ids = make([][]*told, len(c.lives)), make([]map[int]string, len(c.lives))
	for _, l := range c.lives {
		c.assign(l)
	}
	for _, l := range c.lives {
		c.live(l)
	}
	c.nothingElse()
	return c.wrong
}

func (c *checker) differs(l *life, format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf("node %d, process %d: ", l.node, l.pid)+fmt.Sprintf(format, args...))
}

// assign finds the events of a life: those of its pid in its time.
func (c *checker) assign(l *life) {
	c.ids[l.node] = map[int]string{}
	if l.pid == 0 {
		return
	}
	for _, t := range c.of[l.pid] {
		if t.since >= l.forking.Time && t.since <= l.until && c.claims[t] == nil {
			c.claims[t] = l
			c.events[l.node] = append(c.events[l.node], t)
		}
	}
	n := 0
	for _, e := range l.execs {
		if e.failed != nil || n >= len(c.events[l.node]) || c.events[l.node][n].exit != nil {
			continue
		}
		c.ids[l.node][e.spec.Image] = c.events[l.node][n].process.GetExecId()
		n++
	}
	if last := len(c.events[l.node]) - 1; n == 0 && last >= 0 {
		c.ids[l.node][0] = c.events[l.node][last].process.GetExecId()
	}
}

// live compares the events of one life.
func (c *checker) live(l *life) {
	events := c.events[l.node]
	if l.pid == 0 {
		return
	}
	var last *told
	var lastExec *execution
	for i := range l.execs {
		e := &l.execs[i]
		if e.failed != nil {
			continue
		}
		if len(events) == 0 || events[0].exit != nil {
			if e.done != nil || l.maker == nil {
				c.differs(l, "its exec of %q is missing", e.spec.Path)
			}
			continue // killed before it could say that it has executed the file, or before it had
		}
		last, lastExec, events = events[0], e, events[1:]
		c.exec(l, e, last, i == firstExec(l))
	}
	switch {
	case len(events) == 0:
		c.differs(l, "its exit is missing")
		return
	case events[0].exit == nil:
		c.differs(l, "it did not execute this: %s", events[0])
		return
	}
	c.exit(l, last, lastExec, events[0])
	for _, t := range events[1:] {
		c.differs(l, "it had ended: %s", t)
	}
}

// firstExec is the index of the first exec that did not fail.
func firstExec(l *life) int {
	return slices.IndexFunc(l.execs, func(e execution) bool { return e.failed == nil })
}

func (c *checker) exec(l *life, e *execution, t *told, first bool) {
	p := t.process
	node, _, _, _ := parts(p.GetExecId())
	c.equal(l, t, "node in the exec id", node, t.event.GetNodeName())
	c.equal(l, t, "thread", p.GetTid(), wrapperspb.UInt32(l.pid))
	c.equal(l, t, "binary", p.GetBinary(), valid(e.spec.Binary))
	c.equal(l, t, "directory", p.GetCwd(), valid(e.spec.Cwd))
	c.equal(l, t, "auid", p.GetAuid(), wrapperspb.UInt32(c.auid))
	until := l.until
	if e.done != nil {
		until = e.done.Time
		c.equal(l, t, "uid", p.GetUid(), wrapperspb.UInt32(e.done.UID))
	}
	if t.since < e.try.Time || t.since > until {
		c.differs(l, "it was executed between %d and %d: %s", e.try.Time, until, t)
	}
	c.equal(l, t, "time of its start", p.GetStartTime().AsTime(), t.event.GetTime().AsTime())
	flags := []string{"execve"}
	cut := c.arguments(l, e.spec.Argv, t)
	for _, f := range []struct {
		word string
		on   bool
	}{{"truncArgs", cut}, {"rootcwd", string(e.spec.Cwd) == "/"}, {"clone", first}} {
		if f.on {
			flags = append(flags, f.word)
		}
	}
	c.equal(l, t, "flags", p.GetFlags(), strings.Join(flags, " "))
	c.container(l, t, e.spec.Image)
	c.parentAt(l, t, c.atExec(l, e), e.try.Time, until)
}

// arguments compares arguments and tells whether they were cut, which those may be
// that are longer than a page.
func (c *checker) arguments(l *life, argv [][]byte, t *told) (cut bool) {
	size := 0
	for _, a := range argv {
		size += len(a) + 1
	}
	want, got := written(argv[min(1, len(argv)):]), t.process.GetArguments()
	if cut = slices.Contains(strings.Fields(t.process.GetFlags()), "truncArgs"); !cut {
		if got != want {
			c.differs(l, "its arguments are %.300q (%d bytes), not %.300q: %s", want, len(want), got, t)
		}
		return false
	}
	const page = 4096
	all := bytes.Join(argv, []byte{0})
	// Of the last one a part is there, which can need no quotes, or end within a character.
	begins := func(n int) bool { return written(bytes.Split(all[:n], []byte{0})[1:]) == got }
	n := sort.Search(len(all), func(n int) bool { return len(written(bytes.Split(all[:n], []byte{0})[1:])) >= len(got) })
	found := false
	for m := max(0, n-8); m <= min(len(all), n+8) && !found; m++ {
		found = begins(m)
	}
	if !found || size < page || n < page/2 {
		c.differs(l, "its arguments, %d bytes, are no beginning of %.300q: %s", len(got), want, t)
	}
	return true
}

// written is how the API writes arguments.
func written(args [][]byte) string {
	var words []string
	for _, a := range args {
		word := string(a)
		if word == "" || strings.IndexFunc(word, unicode.IsSpace) >= 0 {
			word = `"` + word + `"`
		}
		words = append(words, word)
	}
	return valid([]byte(strings.Join(words, " ")))
}

// valid replaces each run of bytes that are no UTF-8.
func valid(text []byte) string {
	var b strings.Builder
	broken := false
	for i, r := range string(text) {
		bad := r == unicode.ReplacementChar && !strings.HasPrefix(string(text[i:]), "\uFFFD")
		if !bad || !broken {
			b.WriteRune(r)
		}
		broken = bad
	}
	return b.String()
}

func (c *checker) equal(l *life, t *told, what string, got, want any) {
	a, isMessage := got.(proto.Message)
	if b, both := want.(proto.Message); isMessage && both {
		if !proto.Equal(a, b) {
			c.differs(l, "%s is %v, not %v: %s", what, b, a, t)
		}
		return
	}
	if got != want {
		c.differs(l, "%s is %q, not %q: %s", what, want, got, t)
	}
}

// same compares two messages of one process. The wall clock can be adjusted between them,
// and with it the start that it is told to have had.
func (c *checker) same(l *life, t *told, what string, got, want *tetragon.Process) {
	want = proto.Clone(want).(*tetragon.Process)
	if moved := got.GetStartTime().AsTime().Sub(want.GetStartTime().AsTime()).Abs(); moved < time.Second {
		want.StartTime = got.GetStartTime()
	}
	c.equal(l, t, what, got, want)
}

// container compares the container of image n.
func (c *checker) container(l *life, t *told, _ int) {
	const short = 31
	p := t.process
	c.equal(l, t, "container", p.GetPod().GetContainer().GetId(), l.container)
	c.equal(l, t, "container in short", p.GetDocker(), l.container[:min(short, len(l.container))])
}

// exit compares an exit with the last exec of the process, or with what it was forked
// from.
func (c *checker) exit(l *life, last *told, of *execution, t *told) {
	p := t.process
	var codes []string
	for _, code := range l.codes() {
		signal, status := "", uint32(code>>8)
		if n := unix.Signal(code & 0x7f); n != 0 {
			signal = cmp.Or(unix.SignalName(n), fmt.Sprintf("SIG%d", n))
		}
		codes = append(codes, fmt.Sprintf("%q, %d", signal, status))
	}
	if got := fmt.Sprintf("%q, %d", t.exit.GetSignal(), t.exit.GetStatus()); !slices.Contains(codes, got) {
		c.differs(l, "it ended with %v: %s", codes, t)
	}
	c.equal(l, t, "time", t.exit.GetTime().AsTime(), t.event.GetTime().AsTime())
	if at := p.GetStartTime().AsTime(); t.event.GetTime().AsTime().Before(at) {
		c.differs(l, "it ended at %v before it began at %v: %s", t.event.GetTime().AsTime(), at, t)
	}
	c.container(l, t, len(l.execs))
	if last == nil {
		c.forked(l, t)
		return
	}
	// The last thread is anybody's.
	want := proto.Clone(last.process).(*tetragon.Process)
	want.Tid = p.GetTid()
	c.same(l, t, "process", p, want)
	c.same(l, t, "parent", t.parent, last.parent)
}

// forked compares the exit of a process that was forked and executed nothing.
func (c *checker) forked(l *life, t *told) {
	p := t.process
	if l.begun != nil {
		c.equal(l, t, "start in hundredths of a second", t.since/tick, l.begun.Start)
		c.equal(l, t, "thread", p.GetTid(), wrapperspb.UInt32(l.pid))
	}
	if source := c.source(l.maker, l.makerImage); source != nil {
		of := source.process
		c.equal(l, t, "binary, which is its maker's,", p.GetBinary(), of.GetBinary())
		c.equal(l, t, "arguments, which are its maker's,", p.GetArguments(), of.GetArguments())
		c.equal(l, t, "directory, which is its maker's,", p.GetCwd(), of.GetCwd())
		var flags []string
		for _, word := range strings.Fields(of.GetFlags()) {
			if word != "execve" && word != "clone" {
				flags = append(flags, word)
			}
		}
		c.equal(l, t, "flags", p.GetFlags(), strings.Join(append(flags, "clone"), " "))
	}
	until := l.until
	if l.begun != nil {
		until = l.begun.Time
	}
	c.parentAt(l, t, c.atBirth(l), l.forking.Time, until)
}

// source is the exec that an image of a process comes from.
func (c *checker) source(l *life, image int) *told {
	for ; l != nil; l, image = l.maker, l.makerImage {
		if image > 0 {
			return c.byID[c.ids[l.node][image]]
		}
	}
	return nil
}

// nothingElse looks for events that name a process of the tree as theirs or as their
// parent, and are nobody's.
func (c *checker) nothingElse() {
	ours := map[string]bool{}
	for _, ids := range c.ids {
		for _, id := range ids {
			ours[id] = true
		}
	}
	for _, t := range c.all {
		if c.claims[t] == nil && (ours[t.process.GetExecId()] || ours[t.process.GetParentExecId()]) {
			c.wrong = append(c.wrong, "nobody did this: "+t.String())
		}
	}
}
