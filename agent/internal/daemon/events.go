// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"

	"github.com/boltseal/boltseal/api/v1/tetragon"
)

type events struct{}

func newEvents(*agent) (*events, error) { return &events{}, nil }

func (e *events) run(ctx context.Context) error { <-ctx.Done(); return nil }
func (e *events) close() error                  { return nil }
func (e *events) Stream(context.Context, *tetragon.GetEventsRequest, func(*tetragon.GetEventsResponse) error) error {
	return errors.New("temporary")
}
