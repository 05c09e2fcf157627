// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// TestLogLevels: get returns what was set, the log obeys, and says who did it
// whatever the levels are.
func TestLogLevels(t *testing.T) {
	needRoot(t)
	var log bytes.Buffer // written within calls only
	level := &slog.LevelVar{}
	conn := serveWith(t, &fake{}, Options{
		Containers: container.New(0), Level: level, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: level})),
	})
	client := tetragon.NewFineGuidanceSensorsClient(conn)
	before := tetragon.LogLevel_LOG_LEVEL_INFO
	for _, set := range []tetragon.LogLevel{4, 0, 1, 0, 6, 2, 5, 3, 6, 0, 4} {
		log.Reset()
		response, err := client.SetDebug(t.Context(), &tetragon.SetDebugRequest{Arg: &tetragon.SetDebugRequest_Level{Level: set}})
		if err != nil || response.GetLevel() != set {
			t.Fatalf("set %s: %v, %v", set, response, err)
		}
		want := fmt.Sprintf("msg=\"log level changed\" from=%s to=%s caller.uid=0 caller.pid=%d", before, set, os.Getpid())
		if !strings.Contains(log.String(), want) {
			t.Errorf("from %s to %s: the log has %q, want %q", before, set, log.String(), want)
		}
		before = set
		got, err := client.GetDebug(t.Context(), &tetragon.GetDebugRequest{})
		if err != nil || got.GetLevel() != set || got.GetArg() == nil {
			t.Errorf("set %s: get %v, %v", set, got, err)
		}
		for l, slogs := range map[tetragon.LogLevel]slog.Level{2: slog.LevelError, 3: slog.LevelWarn, 4: slog.LevelInfo, 5: slog.LevelDebug} {
			if enabled := level.Level() <= slogs; enabled != (l <= set) {
				t.Errorf("set %s: %s is logged: %v", set, l, enabled)
			}
		}
	}
	// What is between two levels is the one that lets through the same.
	if got := logLevelOf(slog.LevelInfo + 1); got != tetragon.LogLevel_LOG_LEVEL_INFO {
		t.Errorf("between: %s", got)
	}
}

func TestProcessDump(t *testing.T) {
	needRoot(t)
	entry := func(pid uint32, started int64, refcnt uint32, running bool) ProcessEntry {
		return ProcessEntry{
			Process: &tetragon.Process{Pid: wrapperspb.UInt32(pid), StartTime: &timestamppb.Timestamp{Seconds: started}},
			Color:   "inUse", Refcnt: refcnt, RefcntOps: map[string]int32{"process++": 1}, Running: running,
		}
	}
	f := &fake{entries: []ProcessEntry{entry(3, 1, 1, true), entry(2, 9, 0, false), entry(2, 7, 2, false), entry(1, 0, 5, true)}}
	client := tetragon.NewFineGuidanceSensorsClient(serve(t, f, container.New(0)))
	for _, test := range []struct {
		dump *tetragon.DumpProcessCacheReqArgs
		want string
	}{
		{nil, "1/0 2/7 2/9 3/1"},
		{&tetragon.DumpProcessCacheReqArgs{SkipZeroRefcnt: true}, "1/0 2/7 3/1"},
		{&tetragon.DumpProcessCacheReqArgs{ExcludeExecveMapProcesses: true}, "2/7 2/9"},
		{&tetragon.DumpProcessCacheReqArgs{SkipZeroRefcnt: true, ExcludeExecveMapProcesses: true}, "2/7"},
	} {
		request := &tetragon.GetDebugRequest{Flag: tetragon.ConfigFlag_CONFIG_FLAG_DUMP_PROCESS_CACHE}
		if test.dump != nil {
			request.Arg = &tetragon.GetDebugRequest_Dump{Dump: test.dump}
		}
		response, err := client.GetDebug(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range response.GetProcesses().GetProcesses() {
			got = append(got, fmt.Sprintf("%d/%d", p.GetProcess().GetPid().GetValue(), p.GetProcess().GetStartTime().GetSeconds()))
			if p.GetColor() != "inUse" || p.GetRefcnt() == nil || p.GetRefcntOps()["process++"] != 1 {
				t.Errorf("%v: %v", test.dump, p)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%v: %s, want %s", test.dump, got, test.want)
		}
	}
}

func TestTestEvent(t *testing.T) {
	needRoot(t)
	f := &fake{}
	client := boltseal.NewBoltsealClient(serve(t, f, container.New(0)))
	if _, err := client.EmitTestEvent(t.Context(), &boltseal.EmitTestEventRequest{Arg0: 1, Arg1: 2, Arg2: 3, Arg3: 1 << 63}); err != nil {
		t.Fatal(err)
	}
	want := []*tetragon.Test{{Arg0: 1, Arg1: 2, Arg2: 3, Arg3: 1 << 63}}
	if diff := cmp.Diff(want, f.tests, protocmp.Transform()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestSettingsAreTold(t *testing.T) {
	needRoot(t)
	conn := serveWith(t, &fake{}, Options{Containers: container.New(0), Settings: map[string]any{
		"s": "text\xff", "b": true, "n": int64(7), "d": time.Minute, "l": []string{"x", "\xfe"},
	}})
	info, err := tetragon.NewFineGuidanceSensorsClient(conn).GetInfo(t.Context(), &tetragon.GetInfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := structpb.NewList([]any{"x", "\uFFFD"})
	if err != nil {
		t.Fatal(err)
	}
	want := []proto.Message{wrapperspb.Bool(true), durationpb.New(time.Minute), list, wrapperspb.Int64(7), wrapperspb.String("text\uFFFD")}
	for i, key := range []string{"b", "d", "l", "n", "s"} {
		conf := info.GetConf()[i]
		got, err := conf.GetValue().UnmarshalNew()
		if err != nil || conf.GetKey() != key || !proto.Equal(got, want[i]) {
			t.Errorf("setting %d: %v, %v; want %s: %v", i, conf, err, key, want[i])
		}
	}
	if _, err := setting(1.5); err == nil {
		t.Error("a value of no known kind is told")
	}
}
