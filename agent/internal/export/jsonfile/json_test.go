// SPDX-License-Identifier: Apache-2.0

package jsonfile

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

func exec() *tetragon.GetEventsResponse {
	return &tetragon.GetEventsResponse{
		NodeName: "node", Time: timestamppb.New(time.Unix(1, 5000)), ClusterName: "c", NodeLabels: map[string]string{"k": "v w"},
		AggregationInfo: &tetragon.AggregationInfo{Count: 1 << 60},
		Event: &tetragon.GetEventsResponse_ProcessExec{ProcessExec: &tetragon.ProcessExec{
			Process: &tetragon.Process{ExecId: "YQ==", Pid: wrapperspb.UInt32(7), Binary: "/bin/a b", Arguments: "\"x: y,  z\\\" \n<&>\u2028"},
		}},
	}
}

// TestForm is what tools that read the files of the compatible agent rely on.
func TestForm(t *testing.T) {
	t.Parallel()
	const want = `{"process_exec":{"process":{"exec_id":"YQ==","pid":7,"binary":"/bin/a b","arguments":"\"x: y,  z\\\" \n<&>` + "\u2028" + `"}},` +
		`"node_name":"node","time":"1970-01-01T00:00:01.000005Z","aggregation_info":{"count":"1152921504606846976"},` +
		`"cluster_name":"c","node_labels":{"k":"v w"}}` + "\n"
	got, err := AppendLine([]byte("before"), exec())
	if err != nil || string(got) != "before"+want {
		t.Errorf("%v\n got %s\nwant before%s", err, got, want)
	}
	kprobe := &tetragon.GetEventsResponse{Event: &tetragon.GetEventsResponse_ProcessKprobe{ProcessKprobe: &tetragon.ProcessKprobe{
		Action: tetragon.KprobeAction_KPROBE_ACTION_SIGKILL, Args: []*tetragon.KprobeArgument{{Arg: &tetragon.KprobeArgument_LongArg{LongArg: -1}}},
	}}}
	const wantKprobe = `{"process_kprobe":{"args":[{"long_arg":"-1"}],"action":"KPROBE_ACTION_SIGKILL"}}` + "\n"
	if got, err := AppendLine(nil, kprobe); err != nil || string(got) != wantKprobe {
		t.Errorf("%v\n got %s\nwant %s", err, got, wantKprobe)
	}
	if got, err := AppendLine([]byte("x"), &tetragon.GetEventsResponse{NodeName: "\xff"}); err == nil || string(got) != "x" {
		t.Errorf("text that is not UTF-8: %q, %v", got, err)
	}
}

// fill sets random fields of a message.
func fill(random *rand.Rand, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if random.IntN(3) == 0 || f.Message() != nil && depth == 0 {
			continue
		}
		switch {
		case f.IsMap():
			into := m.Mutable(f).Map()
			for range random.IntN(3) {
				into.Set(protoreflect.ValueOfString(text(random)).MapKey(), protoreflect.ValueOfString(text(random)))
			}
		case f.IsList() && f.Message() != nil:
			into := m.Mutable(f).List()
			for range random.IntN(3) {
				fill(random, into.AppendMutable().Message(), depth-1)
			}
		case f.IsList():
			into := m.Mutable(f).List()
			for range random.IntN(3) {
				into.Append(scalar(random, f))
			}
		case f.Message() != nil:
			fill(random, m.Mutable(f).Message(), depth-1)
		default:
			m.Set(f, scalar(random, f))
		}
	}
	switch of := m.Interface().(type) {
	case *timestamppb.Timestamp:
		of.Seconds, of.Nanos = random.Int64N(253402300799), random.Int32N(1e9)
	}
}

func text(random *rand.Rand) string {
	const letters = "ab \"\\\n\t\x00\x1f\u2028é€𝄞,:{}[]<>&"
	runes := []rune(letters)
	var out strings.Builder
	for range random.IntN(12) {
		out.WriteRune(runes[random.IntN(len(runes))])
	}
	return out.String()
}

func scalar(random *rand.Rand, f protoreflect.FieldDescriptor) protoreflect.Value {
	n := random.Uint64() >> random.IntN(64)
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n&1 > 0)
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(random.IntN(values.Len())).Number())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(n)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(random.Float32())
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(random.Float64())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(text(random)))
	default:
		return protoreflect.ValueOfString(text(random))
	}
}

// TestRandomMessagesComeBack: what is written is read as the same message, by
// protobuf's own reader, and is one line without white space.
func TestRandomMessagesComeBack(t *testing.T) {
	t.Parallel()
	types := map[string]bool{}
	for seed := range uint64(300) {
		e := &tetragon.GetEventsResponse{}
		fill(rand.New(rand.NewPCG(seed, 3)), e.ProtoReflect(), 4)
		line, err := AppendLine(nil, e)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		var small bytes.Buffer
		if err := json.Compact(&small, line); err != nil || small.String()+"\n" != string(line) || bytes.Count(line, []byte("\n")) != 1 {
			t.Fatalf("seed %d: %v, not one compact line: %q", seed, err, line)
		}
		back := &tetragon.GetEventsResponse{}
		if err := protojson.Unmarshal(line, back); err != nil || !proto.Equal(e, back) {
			t.Fatalf("seed %d: %v\n%v\n%v", seed, err, e, back)
		}
		if of := e.ProtoReflect().WhichOneof(e.ProtoReflect().Descriptor().Oneofs().ByName("event")); of != nil {
			types[string(of.Name())] = true
			if !strings.HasPrefix(string(line), `{"`+string(of.Name())+`":`) {
				t.Errorf("the event is not first: %.60s", line)
			}
		}
	}
	if len(types) < 3 {
		t.Errorf("only events of types %v", types)
	}
}

func FuzzCompact(f *testing.F) {
	for _, text := range []string{`{"a" : [1, "b \" , \\"] }`, `" "`, "[ ]", `"\\"`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var want bytes.Buffer
		got := bytes.Clone(text)
		n := compact(got) // whatever it is
		if json.Compact(&want, text) == nil && want.String() != string(got[:n]) {
			t.Errorf("%q became %q, not %q", text, got[:n], want.String())
		}
	})
}

func BenchmarkAppendLine(b *testing.B) {
	e, line := exec(), []byte(nil)
	b.Run("line", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			line, _ = AppendLine(line[:0], e)
		}
	})
	b.Run("encoding alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			line, _ = protojson.MarshalOptions{UseProtoNames: true}.MarshalAppend(line[:0], e)
		}
	})
}
