// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

// Limits of the server: a client that is slow, or one of too many, gets no answer,
// and takes nothing from others.
const (
	maxConnections = 16
	headerTime     = 5 * time.Second
	writeTime      = 30 * time.Second
	idleTime       = 2 * time.Minute
	stopTime       = 3 * time.Second
	maxHeaderBytes = 16 << 10
)

// Path is where metrics are served.
const Path = "/metrics"

// Serve answers GET /metrics until the context ends, and closes the listener. A scrape
// that takes too long may still be under way when it returns: see [Metrics.Close].
func (m *Metrics) Serve(ctx context.Context, l net.Listener, log *slog.Logger) error {
	routes := http.NewServeMux()
	routes.Handle("GET "+Path, m.Handler())
	server := &http.Server{
		Handler: routes, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(netutil.LimitListener(l, maxConnections)) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve metrics: %w", err)
	case <-ctx.Done():
	}
	// The context has ended; those who are being answered get a moment.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
