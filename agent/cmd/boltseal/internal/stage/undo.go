// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// undoTime bounds each step of the cleanup.
const undoTime = 20 * time.Second

// undo is what has to be taken back, in the order in which it was done.
type undo struct {
	steps []step
}

type step struct {
	what string
	do   func(context.Context) error
}

// later has do run at the end. Call it before what it takes back is done: do
// must not mind that it never was.
func (u *undo) later(what string, do func(context.Context) error) {
	u.steps = append(u.steps, step{what, do})
}

// run takes all back, the last first. It goes on after errors: each step
// removes what others may have failed to.
func (u *undo) run() error {
	var errs []error
	for _, s := range slices.Backward(u.steps) {
		ctx, cancel := context.WithTimeout(context.Background(), undoTime)
		if err := s.do(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.what, err))
		}
		cancel()
	}
	u.steps = nil
	return errors.Join(errs...)
}

// pollInterval is how often is looked at what the kernel tells nobody about.
const pollInterval = 5 * time.Millisecond

// poll asks until there is an answer, an error or the end of the context.
func poll(ctx context.Context, ask func() (bool, error)) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		if done, err := ask(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
