// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// eventLog is one that refuses sizes below 1.
type eventLog struct {
	EventLogRotation
	none bool
}

func (e *eventLog) Rotation() (EventLogRotation, error) {
	if e.none {
		return EventLogRotation{}, ErrNoEventLog
	}
	return e.EventLogRotation, nil
}

func (e *eventLog) ChangeRotation(change func(*EventLogRotation)) error {
	r, err := e.Rotation()
	if err != nil {
		return err
	}
	if change(&r); r.MaxSizeMB < 1 {
		return fmt.Errorf("%w: max_size: too small", ErrEventLog)
	}
	e.EventLogRotation = r
	return nil
}

func TestEventLog(t *testing.T) {
	needRoot(t)
	log := &eventLog{EventLogRotation: EventLogRotation{MaxSizeMB: 10, Interval: time.Hour, MaxBackups: 5}}
	client := tetragon.NewEventLogServiceClient(serveWith(t, &fake{}, Options{EventLog: log, Containers: container.New(0)}))
	get := func() string {
		t.Helper()
		r, err := client.GetEventLogParams(t.Context(), &tetragon.GetEventLogParamsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(r.GetMaxSize(), " ", r.GetRotationInterval(), " ", r.GetMaxBackups())
	}
	if got := get(); got != "10 1h0m0s 5" {
		t.Errorf("at first %s", got)
	}
	for _, c := range []struct {
		request *tetragon.SetEventLogParamsRequest
		want    string
		fault   string
	}{
		{&tetragon.SetEventLogParamsRequest{}, "10 1h0m0s 5", ""},
		{&tetragon.SetEventLogParamsRequest{MaxSize: new(int32(3))}, "3 1h0m0s 5", ""},
		{&tetragon.SetEventLogParamsRequest{RotationInterval: new("90s"), MaxBackups: new(int32(0))}, "3 1m30s 0", ""},
		{&tetragon.SetEventLogParamsRequest{RotationInterval: new("soon"), MaxSize: new(int32(4))}, "3 1m30s 0", "rotation_interval"},
		{&tetragon.SetEventLogParamsRequest{MaxSize: new(int32(0)), MaxBackups: new(int32(7))}, "3 1m30s 0", "max_size"},
		{&tetragon.SetEventLogParamsRequest{RotationInterval: new("0")}, "3 0s 0", ""},
	} {
		_, err := client.SetEventLogParams(t.Context(), c.request)
		if c.fault == "" && err != nil || c.fault != "" && (status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%v: %v", c.request, err)
		}
		if got := get(); got != c.want {
			t.Errorf("%v: %s, want %s", c.request, got, c.want)
		}
	}
	log.none = true
	_, err := client.GetEventLogParams(t.Context(), &tetragon.GetEventLogParamsRequest{})
	_, setErr := client.SetEventLogParams(t.Context(), &tetragon.SetEventLogParamsRequest{})
	for _, err := range []error{err, setErr} {
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "--export-filename") {
			t.Errorf("without a file: %v", errors.Unwrap(err))
		}
	}
}
