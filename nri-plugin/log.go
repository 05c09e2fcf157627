// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
)

// nriLog passes what the library says on to the log.
type nriLog struct{ log *slog.Logger }

func (l nriLog) say(ctx context.Context, level slog.Level, format string, args []any) {
	l.log.Log(ctx, level, "nri", "text", fmt.Sprintf(format, args...))
}

func (l nriLog) Debugf(ctx context.Context, format string, args ...any) {
	l.say(ctx, slog.LevelDebug, format, args)
}

func (l nriLog) Infof(ctx context.Context, format string, args ...any) {
	l.say(ctx, slog.LevelDebug, format, args)
}

func (l nriLog) Warnf(ctx context.Context, format string, args ...any) {
	l.say(ctx, slog.LevelWarn, format, args)
}

func (l nriLog) Errorf(ctx context.Context, format string, args ...any) {
	l.say(ctx, slog.LevelError, format, args)
}
