// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// EventLog is the file that events are written to.
type EventLog interface {
	// Rotation is the rotation in force, or ErrNoEventLog.
	Rotation() (EventLogRotation, error)
	// ChangeRotation changes it. The error is ErrNoEventLog, or wraps ErrEventLog when
	// it would not be valid; then nothing has changed.
	ChangeRotation(change func(*EventLogRotation)) error
}

// EventLogRotation is when a new file is begun, and what becomes of old ones.
type EventLogRotation struct {
	// MaxSizeMB is in units of 1 MiB.
	MaxSizeMB int
	// Interval is 0 for none.
	Interval time.Duration
	// MaxBackups is 0 for all.
	MaxBackups int
}

var (
	// ErrEventLog says that a file cannot be rotated like that.
	ErrEventLog = errors.New("invalid rotation")
	// ErrNoEventLog says that events are not written to a file.
	ErrNoEventLog = errors.New("events are written to no file: the agent was started without --export-filename and exports")
)

// GetEventLogParams tells how the file of events is rotated.
func (s *Server) GetEventLogParams(context.Context, *tetragon.GetEventLogParamsRequest) (*tetragon.GetEventLogParamsResponse, error) {
	r, err := s.EventLog.Rotation()
	if err != nil {
		return nil, failure(err)
	}
	return &tetragon.GetEventLogParamsResponse{
		MaxSize: int32(r.MaxSizeMB), RotationInterval: r.Interval.String(), MaxBackups: int32(r.MaxBackups),
	}, nil
}

// SetEventLogParams changes how the file of events is rotated.
func (s *Server) SetEventLogParams(_ context.Context, r *tetragon.SetEventLogParamsRequest) (*tetragon.SetEventLogParamsResponse, error) {
	var interval time.Duration
	if r.RotationInterval != nil {
		var err error
		if interval, err = time.ParseDuration(r.GetRotationInterval()); err != nil {
			return nil, failure(fmt.Errorf("%w: rotation_interval: %w", ErrEventLog, err))
		}
	}
	err := s.EventLog.ChangeRotation(func(to *EventLogRotation) {
		if r.MaxSize != nil {
			to.MaxSizeMB = int(r.GetMaxSize())
		}
		if r.RotationInterval != nil {
			to.Interval = interval
		}
		if r.MaxBackups != nil {
			to.MaxBackups = int(r.GetMaxBackups())
		}
	})
	if err != nil {
		return nil, failure(err)
	}
	return &tetragon.SetEventLogParamsResponse{}, nil
}
