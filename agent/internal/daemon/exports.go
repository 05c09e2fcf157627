// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/config"
	"github.com/boltseal/boltseal/agent/internal/export"
	"github.com/boltseal/boltseal/agent/internal/export/jsonfile"
	"github.com/boltseal/boltseal/agent/internal/filter"
	"github.com/boltseal/boltseal/agent/internal/server"
)

// drainTime is how long, once no more events come, those that wait may take to be
// written; and then again how long a write that hangs is waited for.
const drainTime = 5 * time.Second

// megabyte is the unit of the sizes of files.
const megabyte = 1 << 20

// exports writes events to files.
type exports struct {
	log     *slog.Logger
	all     []*exporter
	started bool // run is called, or will be

	mu sync.Mutex // of changes by SetRotation
}

// exporter writes to one file.
type exporter struct {
	config.Export
	file   *jsonfile.File
	writer *jsonfile.Writer
	sub    *export.Subscription
}

// openExports opens the files and subscribes for them. Either run or close has to
// come.
func openExports(hub *export.Hub, filters filter.Compiler, all []config.Export, queue int, log *slog.Logger) (*exports, error) {
	x := &exports{log: log}
	var faults []error
	for _, c := range all {
		e, err := openExport(hub, filters, c, queue, log.With("export", c.Name))
		if err != nil {
			faults = append(faults, err)
			continue
		}
		x.all = append(x.all, e)
	}
	if len(faults) > 0 {
		return nil, errors.Join(append(faults, x.close())...)
	}
	return x, nil
}

func openExport(hub *export.Hub, filters filter.Compiler, c config.Export, queue int, log *slog.Logger) (*exporter, error) {
	options, err := exportOptions(filters, c)
	if err != nil {
		return nil, err
	}
	options.Queue = queue
	perm, err := c.Perm()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Key("permissions"), err)
	}
	file, err := jsonfile.Open(jsonfile.Options{Path: c.File, Rotation: rotation(c), Compress: c.Compress, Perm: perm, Log: log})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Key("file"), err)
	}
	sub, err := hub.Subscribe(context.Background(), options)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("export %s: %w", c.Name, err), file.Close())
	}
	return &exporter{Export: c, file: file, writer: jsonfile.NewWriter(file, hub.Origin, log), sub: sub}, nil
}

// exportOptions is what an export subscribes to. Errors name the key.
func exportOptions(filters filter.Compiler, c config.Export) (export.Options, error) {
	o := export.Options{Name: c.Name}
	v, err := parseView(filters, c)
	if err != nil {
		return o, err
	}
	o.View = v
	if c.Aggregation != nil {
		o.Aggregation = &export.Aggregation{Window: c.Aggregation.WindowSize, Buffer: c.Aggregation.BufferSize}
	}
	if c.RateLimit >= 0 {
		o.PerMinute = &c.RateLimit
	}
	return o, nil
}

func rotation(c config.Export) jsonfile.Rotation {
	return jsonfile.Rotation{MaxBytes: int64(c.MaxSizeMB) * megabyte, Interval: c.RotationInterval, MaxBackups: c.MaxBackups}
}

// run writes events until the hub is closed, and then what waits. It ends some time
// after the context does, whatever the disk does.
func (x *exports) run(ctx context.Context) error {
	stop := x.reopenOnHangup()
	defer stop()
	x.write(ctx)
	return nil
}

func (x *exports) write(ctx context.Context) {
	drain, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	var writing sync.WaitGroup
	for _, e := range x.all {
		writing.Go(func() { e.write(drain, x.log) })
	}
	done := make(chan struct{})
	go func() {
		writing.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	}
	for _, step := range []func(){giveUp, func() { x.log.Error("a write of events hangs, and is left to itself") }} {
		timer := time.NewTimer(drainTime)
		defer timer.Stop()
		select {
		case <-done:
			return
		case <-timer.C:
			step()
		}
	}
}

// write writes until the end of the subscription, or of the context, and closes
// the file.
func (e *exporter) write(ctx context.Context, log *slog.Logger) {
	err := errors.Join(e.sub.Stream(ctx, e.writer.Write), e.writer.Close())
	e.sub.Close()
	if left := e.sub.Stats().Queued; left > 0 || err != nil {
		log.Error("end of export", "export", e.Name, "unwritten", left, "error", err)
	}
}

// reopenOnHangup opens the files anew at SIGHUP, as tools that rotate files ask
// for, until what it returns is called.
func (x *exports) reopenOnHangup() (stop func()) {
	if len(x.all) == 0 {
		return func() {}
	}
	hangups, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangups, unix.SIGHUP)
	go func() {
		for {
			select {
			case <-hangups:
				x.reopen()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(done)
	}
}

func (x *exports) reopen() {
	for _, e := range x.all {
		if err := e.file.Reopen(); err != nil {
			x.log.Error("reopen export", "export", e.Name, "error", err)
		}
	}
}

// close closes files that were never written to.
func (x *exports) close() error {
	if x.started {
		return nil // run has, unless a write hangs
	}
	var errs []error
	for _, e := range x.all {
		e.sub.Close()
		errs = append(errs, e.writer.Close())
	}
	return errors.Join(errs...)
}

// Rotation is that of the first export.
func (x *exports) Rotation() (server.EventLogRotation, error) {
	if len(x.all) == 0 {
		return server.EventLogRotation{}, server.ErrNoEventLog
	}
	r := x.all[0].file.Rotation()
	return server.EventLogRotation{MaxSizeMB: int(r.MaxBytes / megabyte), Interval: r.Interval, MaxBackups: r.MaxBackups}, nil
}

// ChangeRotation changes that of the first export, as a whole or not at all.
func (x *exports) ChangeRotation(change func(*server.EventLogRotation)) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	r, err := x.Rotation()
	if err != nil {
		return err
	}
	change(&r)
	c := x.all[0].Export
	c.MaxSizeMB, c.RotationInterval, c.MaxBackups = r.MaxSizeMB, r.Interval, r.MaxBackups
	names := map[string]string{"max-size-mb": "max_size", "rotation-interval": "rotation_interval", "max-backups": "max_backups"}
	if err := c.Validate(func(setting string) string { return names[setting] }); err != nil {
		return fmt.Errorf("%w: %w", server.ErrEventLog, err)
	}
	x.all[0].file.SetRotation(rotation(c))
	return nil
}
