// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"

	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// methodKey is where a call's method is in its context.
type methodKey struct{}

// TagRPC is stats.Handler. A method that the API does not have is "other": clients
// can make names up.
func (m *Metrics) TagRPC(ctx context.Context, of *stats.RPCTagInfo) context.Context {
	method := of.FullMethodName
	if !m.methods[method] {
		method = other
	}
	return context.WithValue(ctx, methodKey{}, method)
}

// HandleRPC is stats.Handler.
func (m *Metrics) HandleRPC(ctx context.Context, of stats.RPCStats) {
	end, ok := of.(*stats.End)
	if !ok {
		return
	}
	method, ok := ctx.Value(methodKey{}).(string)
	if !ok {
		method = other
	}
	m.calls.WithLabelValues(method, status.Code(end.Error).String()).Inc()
}

// TagConn is stats.Handler.
func (m *Metrics) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn is stats.Handler.
func (m *Metrics) HandleConn(context.Context, stats.ConnStats) {}
