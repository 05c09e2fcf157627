// SPDX-License-Identifier: Apache-2.0

package export

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func aggregated(t *testing.T, h *Hub, window time.Duration, buffer int) *Subscription {
	t.Helper()
	s, err := h.Subscribe(t.Context(), Options{Aggregation: &Aggregation{Window: window, Buffer: buffer}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// counts is what can be read until nothing comes for longer than any window:
// "name×count", or the number of missing events.
func counts(t *testing.T, s *Subscription) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	var all []string
	for {
		e, err := s.Next(ctx)
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrClosed) {
			return strings.Join(all, " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		text := name(e)
		if e.AggregationInfo != nil {
			text += fmt.Sprintf("×%d", e.AggregationInfo.Count)
		}
		all = append(all, text)
	}
}

func publish(h *Hub, names ...int) {
	for _, n := range names {
		e := event(n)
		e.Time = timestamppb.Now()
		h.Publish(e)
	}
}

func TestEqualEventsOfAWindowAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		defer h.Close()
		s := aggregated(t, &h, 10*time.Second, 100)
		begin := time.Now()
		publish(&h, 1, 2, 1)
		time.AfterFunc(9*time.Second, func() { publish(&h, 1, 3) })
		time.AfterFunc(11*time.Second, func() { publish(&h, 1) })
		e, err := s.Next(t.Context())
		if err != nil || e.GetAggregationInfo().GetCount() != 3 || !e.Time.AsTime().Equal(begin) {
			t.Errorf("first: %v, %v", e, err)
		}
		if past := time.Since(begin); past != 10*time.Second {
			t.Errorf("it came after %v", past)
		}
		if got := counts(t, s); got != "2×1 3×1 1×1" {
			t.Errorf("then: %s", got)
		}
	})
}

// TestWindowEndsUnderLoad: a window ends also while events keep coming.
func TestWindowEndsUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		defer h.Close()
		none := 0
		s, err := h.Subscribe(t.Context(), Options{PerMinute: &none, Aggregation: &Aggregation{Window: 10 * time.Second, Buffer: 9}})
		if err != nil {
			t.Fatal(err)
		}
		plain := aggregated(t, &h, 10*time.Second, 9)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		done := make(chan struct{})
		go func() {
			for {
				select {
				case <-ticker.C:
					publish(&h, 1)
				case <-done:
					return
				}
			}
		}()
		e, err := plain.Next(t.Context())
		if err != nil || e.GetAggregationInfo().GetCount() != 10 {
			t.Errorf("first window: %v, %v", e, err)
		}
		// Windows of 10 s from 1 s on: the limiter's minute begins with the first, at 11 s.
		e, err = s.Next(t.Context())
		if n := e.GetRateLimitInfo().GetNumberOfDroppedProcessEvents(); err != nil || n < 60 || n > 70 {
			t.Errorf("after a minute: %v, %v", e, err)
		}
		close(done)
	})
}

// TestLateEventsAreOfTheNextWindow: who reads late finds them waiting.
func TestLateEventsAreOfTheNextWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		s := aggregated(t, &h, 10*time.Second, 100)
		publish(&h, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if e, err := s.Next(ctx); err == nil {
			t.Errorf("%v before the end of the window", e)
		}
		<-time.After(10 * time.Second)
		publish(&h, 1, 1)
		h.Close()
		if got := counts(t, s); got != "1×1 1×2" {
			t.Errorf("%s", got)
		}
	})
}

// steady is a source that has an event each second, all equal.
type steady struct{}

func (steady) next(context.Context, time.Time) (*tetragon.GetEventsResponse, error) {
	<-time.After(time.Second)
	return event(1), nil
}

// TestWaitsAreBoundedUnderLoad: also while events keep coming that are counted or
// filtered.
func TestWaitsAreBoundedUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		defer h.Close()
		unwanted := subscribe(t, &h, wants(func(*tetragon.GetEventsResponse) bool {
			<-time.After(time.Second)
			return false
		}), 0)
		for n := range 100 {
			h.Publish(event(n))
		}
		for name, from := range map[string]source{
			"counted": newAggregator(steady{}, Aggregation{Window: time.Hour, Buffer: 9}), "filtered": unwanted.queue,
		} {
			begin := time.Now()
			e, err := from.next(t.Context(), begin.Add(5*time.Second))
			if past := time.Since(begin); !errors.Is(err, errTime) || past != 5*time.Second {
				t.Errorf("%s: %v, %v after %v", name, e, err, past)
			}
		}
	})
}

func TestFullBufferIsFlushedEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		s := aggregated(t, &h, time.Minute, 2)
		publish(&h, 1, 1, 2, 1, 3, 3)
		begin := time.Now()
		for _, want := range []uint64{2, 1} {
			if e, err := s.Next(t.Context()); err != nil || e.GetAggregationInfo().GetCount() != want {
				t.Errorf("%v, %v; want a count of %d", e, err, want)
			}
		}
		if time.Since(begin) != 0 {
			t.Error("it waited for the window")
		}
		h.Close() // the end flushes as well
		if got := counts(t, s); got != "1×1 3×1 3×1" {
			t.Errorf("then: %s", got)
		}
	})
}

func TestLossStaysInPlaceInAWindow(t *testing.T) {
	t.Parallel()
	var h Hub
	s, err := h.Subscribe(t.Context(), Options{Queue: 2, Aggregation: &Aggregation{Window: time.Minute, Buffer: 100}})
	if err != nil {
		t.Fatal(err)
	}
	publish(&h, 1, 1, 1, 1)
	if e, lost, _ := s.queue.take(); e == nil || lost != 0 {
		t.Fatalf("took %v", e)
	}
	publish(&h, 2)
	h.Close()
	if got := counts(t, s); got != "1×1 -2 2×1" {
		t.Errorf("%s", got)
	}
}

func TestContextOfAWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		defer h.Close()
		s := aggregated(t, &h, 10*time.Second, 100)
		publish(&h, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		publish(&h, 1)
		if got := counts(t, s); got != "1×2" {
			t.Errorf("what was being counted: %s", got)
		}
	})
}

func TestNewAggregation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		options *tetragon.AggregationOptions
		want    Aggregation
		fault   string
	}{
		{options: &tetragon.AggregationOptions{}, want: Aggregation{DefaultWindow, DefaultBuffer}},
		{options: &tetragon.AggregationOptions{WindowSize: durationpb.New(time.Second), ChannelBufferSize: 7}, want: Aggregation{time.Second, 7}},
		{options: &tetragon.AggregationOptions{WindowSize: durationpb.New(0)}, fault: "window_size: "},
		{options: &tetragon.AggregationOptions{WindowSize: durationpb.New(-1)}, fault: "window_size: "},
		{options: &tetragon.AggregationOptions{WindowSize: durationpb.New(time.Hour + 1)}, fault: "window_size: "},
		{options: &tetragon.AggregationOptions{WindowSize: &durationpb.Duration{Seconds: 1, Nanos: -1}}, fault: "window_size: "},
		{options: &tetragon.AggregationOptions{ChannelBufferSize: MaxBuffer + 1}, fault: "channel_buffer_size: "},
		{options: &tetragon.AggregationOptions{ChannelBufferSize: 1 << 63}, fault: "channel_buffer_size: "},
	} {
		got, err := NewAggregation(c.options)
		if c.fault != "" {
			if err == nil || !strings.HasPrefix(err.Error(), c.fault) || got != nil {
				t.Errorf("%v: %v, %v; want a fault of %s", c.options, got, err, c.fault)
			}
		} else if err != nil || *got != c.want {
			t.Errorf("%v: %v, %v", c.options, got, err)
		}
	}
	if got, err := NewAggregation(nil); got != nil || err != nil {
		t.Errorf("none: %v, %v", got, err)
	}
}

// openat is an event like those of a policy about opens.
func openat(pid uint32, path string) *tetragon.GetEventsResponse {
	p := &tetragon.Process{
		ExecId: fmt.Sprintf("bm9kZToxMjM0NTY3ODk6%d", pid), Pid: wrapperspb.UInt32(pid), Uid: wrapperspb.UInt32(0), Cwd: "/", Binary: "/usr/bin/cat",
		Arguments: "/etc/hostname /etc/shadow", Flags: "execve clone", StartTime: timestamppb.New(time.Unix(1, 2)), Auid: wrapperspb.UInt32(4294967295),
		Pod: &tetragon.Pod{Namespace: "n", Name: "p", Container: &tetragon.Container{Id: "containerd://" + strings.Repeat("a", 64), Name: "c"}},
	}
	return &tetragon.GetEventsResponse{
		NodeName: "node", Time: timestamppb.Now(),
		Event: &tetragon.GetEventsResponse_ProcessKprobe{ProcessKprobe: &tetragon.ProcessKprobe{
			Process: p, Parent: p, FunctionName: "security_file_open", PolicyName: "no-shadow", Action: tetragon.KprobeAction_KPROBE_ACTION_POST,
			Args: []*tetragon.KprobeArgument{{Arg: &tetragon.KprobeArgument_FileArg{FileArg: &tetragon.KprobeFile{Path: path, Permission: "-rw-r--r--"}}}},
		}},
	}
}

// TestEqualIsAllButTheTime changes each field that an event has, one at a time.
func TestEqualIsAllButTheTime(t *testing.T) {
	t.Parallel()
	a := newAggregator(nil, Aggregation{})
	first := openat(1, "/etc/shadow")
	first.ClusterName, first.NodeLabels = "c", map[string]string{"a": "1", "b": "2", "c": "3"}
	want := a.fingerprint(first)
	changed := 0
	var walk func(path []protoreflect.FieldDescriptor, m protoreflect.Message)
	walk = func(path []protoreflect.FieldDescriptor, m protoreflect.Message) {
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			without := proto.Clone(first).ProtoReflect()
			at, holder := "", without
			for _, step := range path {
				at, holder = at+string(step.Name())+".", holder.Mutable(step).Message()
			}
			holder.Clear(f)
			at += string(f.Name())
			if same := a.fingerprint(without.Interface().(*tetragon.GetEventsResponse)) == want; same != (at == "time") {
				t.Errorf("without %s it is the same: %v", at, same)
			}
			changed++
			if f.Message() != nil && !f.IsList() && !f.IsMap() && at != "time" {
				walk(append(slices.Clone(path), f), v.Message())
			}
			return true
		})
	}
	walk(nil, first.ProtoReflect())
	if changed < 30 {
		t.Errorf("only %d fields were changed", changed)
	}
	for range 20 { // labels have no order
		if a.fingerprint(proto.Clone(first).(*tetragon.GetEventsResponse)) != want {
			t.Fatal("a copy is another")
		}
	}
}

// TestAggregationIsLikeTheModel: random events, compared one by one.
func TestAggregationIsLikeTheModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 2))
		var h Hub
		buffer := 1 + random.IntN(6)
		s := aggregated(t, &h, time.Hour, buffer)
		var window, want []*tetragon.GetEventsResponse
		for range random.IntN(200) {
			e := openat(uint32(random.IntN(3)), []string{"/a", "/b", "/c\xff"}[random.IntN(3)])
			e.Time = timestamppb.New(time.Unix(random.Int64N(1000), 0))
			h.Publish(e)
			at := slices.IndexFunc(window, func(o *tetragon.GetEventsResponse) bool {
				o = proto.Clone(o).(*tetragon.GetEventsResponse)
				o.Time, o.AggregationInfo = e.Time, nil
				// Text that is not UTF-8 is never equal.
				return proto.Equal(o, e) && !strings.HasSuffix(e.GetProcessKprobe().Args[0].GetFileArg().Path, "\xff")
			})
			if at >= 0 {
				window[at].AggregationInfo.Count++
				continue
			}
			first := proto.Clone(e).(*tetragon.GetEventsResponse)
			first.AggregationInfo = &tetragon.AggregationInfo{Count: 1}
			if window = append(window, first); len(window) == buffer {
				want, window = append(want, window...), nil
			}
		}
		h.Close()
		for i, w := range append(want, window...) {
			if e := next(t, s); !proto.Equal(e, w) {
				t.Fatalf("seed %d: event %d is %v, want %v", seed, i, e, w)
			}
		}
		end(t, s)
	}
}

// BenchmarkFingerprint has what it is measured against beside it: to walk through
// the event.
func BenchmarkFingerprint(b *testing.B) {
	a, e := newAggregator(nil, Aggregation{}), openat(1, "/etc/shadow")
	b.Run("encoded", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			a.fingerprint(e)
		}
	})
	b.Run("walked", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		var walk func(m protoreflect.Message)
		walk = func(m protoreflect.Message) {
			m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
				if f.Message() != nil && !f.IsList() && !f.IsMap() {
					walk(v.Message())
				}
				n++
				return true
			})
		}
		for b.Loop() {
			walk(e.ProtoReflect())
		}
	})
	b.Run("compared", func(b *testing.B) {
		o := proto.Clone(e)
		b.ReportAllocs()
		for b.Loop() {
			proto.Equal(e, o)
		}
	})
}
