// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/boltseal/boltseal/agent/internal/control"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Processes is the cache of processes.
type Processes interface {
	// Dump is a snapshot of its entries, in any order.
	Dump() ([]ProcessEntry, error)
}

// ProcessEntry is an entry of the cache of processes.
type ProcessEntry struct {
	Process *tetragon.Process
	// Color is how near the entry is to being removed.
	Color string
	// Refcnt is how many hold the entry, RefcntOps how often it was taken and given
	// back by the name of the use.
	Refcnt    uint32
	RefcntOps map[string]int32
	// Running: the process lives, and has executed nothing since.
	Running bool
}

// logLevels are the levels of the log by those of the API. slog has no names for
// three of them, and nothing is logged above ERROR, so that FATAL and PANIC silence
// the log.
func logLevels() []slog.Level {
	return []slog.Level{
		tetragon.LogLevel_LOG_LEVEL_PANIC: slog.LevelError + 8,
		tetragon.LogLevel_LOG_LEVEL_FATAL: slog.LevelError + 4,
		tetragon.LogLevel_LOG_LEVEL_ERROR: slog.LevelError,
		tetragon.LogLevel_LOG_LEVEL_WARN:  slog.LevelWarn,
		tetragon.LogLevel_LOG_LEVEL_INFO:  slog.LevelInfo,
		tetragon.LogLevel_LOG_LEVEL_DEBUG: slog.LevelDebug,
		tetragon.LogLevel_LOG_LEVEL_TRACE: slog.LevelDebug - 4,
	}
}

// logLevelOf is the level of the API that lets through what of does, as far as the
// API can say that.
func logLevelOf(of slog.Level) tetragon.LogLevel {
	for i, level := range logLevels() {
		if level <= of {
			return tetragon.LogLevel(i)
		}
	}
	return tetragon.LogLevel_LOG_LEVEL_TRACE
}

// GetDebug tells the level of the log, or dumps the cache of processes.
func (s *Server) GetDebug(_ context.Context, r *tetragon.GetDebugRequest) (*tetragon.GetDebugResponse, error) {
	response := &tetragon.GetDebugResponse{Flag: r.GetFlag()}
	switch flag := r.GetFlag(); flag {
	case tetragon.ConfigFlag_CONFIG_FLAG_LOG_LEVEL:
		if r.GetArg() != nil {
			return nil, failure(fmt.Errorf("%w request: dump: not for flag %s", control.ErrInvalid, flag))
		}
		response.Arg = &tetragon.GetDebugResponse_Level{Level: logLevelOf(s.Level.Level())}
	case tetragon.ConfigFlag_CONFIG_FLAG_DUMP_PROCESS_CACHE:
		dump, err := s.dump(r.GetDump())
		if err != nil {
			return nil, failure(err)
		}
		response.Arg = &tetragon.GetDebugResponse_Processes{Processes: dump}
	default:
		return nil, failure(fmt.Errorf("%w request: flag %d: there is no such one", control.ErrInvalid, flag))
	}
	return response, nil
}

// dump lists entries by process, the older first. Without arguments it lists all.
func (s *Server) dump(r *tetragon.DumpProcessCacheReqArgs) (*tetragon.DumpProcessCacheResArgs, error) {
	entries, err := s.Processes.Dump()
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e ProcessEntry) bool {
		return r.GetSkipZeroRefcnt() && e.Refcnt == 0 || r.GetExcludeExecveMapProcesses() && e.Running
	})
	slices.SortFunc(entries, func(a, b ProcessEntry) int {
		return cmp.Or(
			cmp.Compare(a.Process.GetPid().GetValue(), b.Process.GetPid().GetValue()),
			a.Process.GetStartTime().AsTime().Compare(b.Process.GetStartTime().AsTime()),
			cmp.Compare(a.Process.GetExecId(), b.Process.GetExecId()),
		)
	})
	list := &tetragon.DumpProcessCacheResArgs{}
	for _, e := range entries {
		list.Processes = append(list.Processes, &tetragon.ProcessInternal{
			Process: e.Process, Color: e.Color, Refcnt: wrapperspb.UInt32(e.Refcnt), RefcntOps: e.RefcntOps,
		})
	}
	return list, nil
}

// SetDebug changes the level of the log until the agent ends.
func (s *Server) SetDebug(ctx context.Context, r *tetragon.SetDebugRequest) (*tetragon.SetDebugResponse, error) {
	level, given := r.GetArg().(*tetragon.SetDebugRequest_Level)
	switch flag := r.GetFlag(); {
	case flag == tetragon.ConfigFlag_CONFIG_FLAG_DUMP_PROCESS_CACHE:
		return nil, failure(fmt.Errorf("%w request: flag %s: cannot be set", control.ErrInvalid, flag))
	case flag != tetragon.ConfigFlag_CONFIG_FLAG_LOG_LEVEL:
		return nil, failure(fmt.Errorf("%w request: flag %d: there is no such one", control.ErrInvalid, flag))
	case !given:
		return nil, failure(fmt.Errorf("%w request: level: is missing", control.ErrInvalid))
	case level.Level < 0 || int(level.Level) >= len(logLevels()):
		return nil, failure(fmt.Errorf("%w request: level %d: there is no such one", control.ErrInvalid, level.Level))
	}
	s.setLevel(ctx, logLevels()[level.Level])
	return &tetragon.SetDebugResponse{Flag: r.GetFlag(), Arg: &tetragon.SetDebugResponse_Level{Level: level.Level}}, nil
}

// setLevel says so at a level that the more talkative of the two lets through: who
// silences the log is in it.
func (s *Server) setLevel(ctx context.Context, level slog.Level) {
	s.levelMu.Lock()
	defer s.levelMu.Unlock()
	old := s.Level.Level()
	if level < old {
		s.Level.Set(level)
	}
	s.Log.Log(ctx, max(slog.LevelInfo, min(old, level)), "log level changed",
		"from", logLevelOf(old).String(), "to", logLevelOf(level).String(), "caller", callerOf(ctx))
	s.Level.Set(level)
}

// EmitTestEvent sends an event of the type TEST to those who are subscribed.
func (s *Server) EmitTestEvent(ctx context.Context, r *boltseal.EmitTestEventRequest) (*boltseal.EmitTestEventResponse, error) {
	s.Events.Test(&tetragon.Test{Arg0: r.GetArg0(), Arg1: r.GetArg1(), Arg2: r.GetArg2(), Arg3: r.GetArg3()})
	s.Log.Info("test event sent", "caller", callerOf(ctx))
	return &boltseal.EmitTestEventResponse{}, nil
}
