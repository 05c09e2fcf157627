// SPDX-License-Identifier: Apache-2.0

package jsonfile

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/boltseal/boltseal/agent/internal/export"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Writer writes events to a File. Write is for one goroutine.
type Writer struct {
	file    *File
	origin  export.Origin
	log     *slog.Logger
	line    []byte
	missing uint64    // since it last went well
	logged  bool      // that they are
	quiet   time.Time // nothing is logged until then

	written, bytes, failed atomic.Uint64
}

// Stats are the numbers of a Writer since its beginning.
type Stats struct {
	// Written are the events in the file and in old ones, Bytes their size.
	Written, Bytes uint64
	// Failed are the events that could not be written.
	Failed uint64
}

// NewWriter writes to a file. The origin is that of the events which tell of others
// that are missing.
func NewWriter(file *File, origin export.Origin, log *slog.Logger) *Writer {
	return &Writer{file: file, origin: origin, log: log.With("file", file.path)}
}

// Write writes an event, and before it how many could not be written. It has no
// error of its own: the next event may be written. An error is logged when it is
// the first of a row, and none has been in the last minute.
func (w *Writer) Write(e *tetragon.GetEventsResponse) error {
	lost := uint64(1)
	if e.GetRateLimitInfo() != nil {
		lost = e.GetRateLimitInfo().GetNumberOfDroppedProcessEvents()
	}
	err := w.tell()
	if err == nil {
		err = w.put(e)
	}
	if err == nil {
		w.written.Add(1)
		return nil
	}
	if now := time.Now(); w.missing == 0 && now.After(w.quiet) {
		w.logged, w.quiet = true, now.Add(time.Minute)
		w.log.Error("events are not written", "error", err)
	}
	w.missing += lost
	w.failed.Add(1)
	return nil
}

// tell writes how many events are missing.
func (w *Writer) tell() error {
	if w.missing == 0 {
		return nil
	}
	if err := w.put(w.origin.Missing(w.missing)); err != nil {
		return err
	}
	if w.logged {
		w.log.Info("events are written again", "missing", w.missing)
	}
	w.missing, w.logged = 0, false
	return nil
}

func (w *Writer) put(e *tetragon.GetEventsResponse) (err error) {
	if w.line, err = AppendLine(w.line[:0], e); err != nil {
		return err
	}
	if err := w.file.WriteLine(w.line); err != nil {
		return err
	}
	w.bytes.Add(uint64(len(w.line)))
	return nil
}

// Stats are the numbers of this moment. Safe for concurrent use.
func (w *Writer) Stats() Stats {
	return Stats{Written: w.written.Load(), Bytes: w.bytes.Load(), Failed: w.failed.Load()}
}

// Close closes the file, after a last try to tell what is missing in it.
func (w *Writer) Close() error {
	_ = w.tell() // it has been logged that it fails
	return w.file.Close()
}
