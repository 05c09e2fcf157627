// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/boltseal/boltseal/test/lab"
)

// Options choose what is run.
type Options struct {
	// Columns are names of columns; all if empty.
	Columns []string
	// Long chooses among LongColumns.
	Long bool
	// Jobs is how many columns run at the same time. A machine of the lab keeps
	// one processor busy.
	Jobs int
}

// Run runs the suite and writes what happens, column by column, and at the end
// the report. It reports whether all is well.
func Run(ctx context.Context, w io.Writer, options Options) (ok bool, err error) {
	begin := time.Now()
	columns, err := choose(options)
	if err != nil {
		return false, err
	}
	l, err := lab.Open(ctx, w)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	dir, err := os.MkdirTemp("", "labsuite")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := build(ctx, dir, columns); err != nil {
		return false, err
	}
	disk, err := l.Pack(ctx, lab.File{Host: dir, Guest: "."})
	if err != nil {
		return false, err
	}
	// Before machines share the processors, so that no fetch is told as slowness.
	for _, c := range columns {
		var err error
		switch {
		case c.Room != "":
			_, err = l.Room(ctx, c.Room)
		case c.Name != host:
			err = l.Fetch(ctx, c.Kernel)
		}
		if err != nil {
			return false, err
		}
	}
	outcomes := all(ctx, w, l, dir, disk, columns, options.Jobs)
	return Report(w, outcomes, options.Long, time.Since(begin)), ctx.Err()
}

// slowest is how many tests of a column are named for the time that they took.
const slowest = 8

func choose(options Options) ([]Column, error) {
	all := Columns()
	if options.Long {
		all = LongColumns()
	}
	if len(options.Columns) == 0 {
		return all, nil
	}
	byName := map[string]Column{}
	for _, c := range all {
		byName[c.Name] = c
	}
	var chosen []Column
	for _, name := range options.Columns {
		c, found := byName[name]
		if !found {
			return nil, fmt.Errorf("no column is called %q", name)
		}
		chosen = append(chosen, c)
	}
	return chosen, nil
}

// all runs the columns and returns what came of each, in their order.
func all(ctx context.Context, w io.Writer, l *lab.Lab, dir, disk string, columns []Column, jobs int) []*Outcome {
	outcomes := make([]*Outcome, len(columns))
	var mu sync.Mutex // of w
	one := func(i int) {
		var out bytes.Buffer
		switch c := columns[i]; {
		case c.Name == host:
			outcomes[i] = native(ctx, dir, c, &out)
		case c.Room != "":
			outcomes[i] = inRoom(ctx, l, dir, c, &out)
		default:
			outcomes[i] = guest(ctx, l, disk, c, &out)
		}
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(w, "\n=== %s\n%sslowest: %s\n", outcomes[i], out.String(), strings.Join(outcomes[i].Summary.Slowest(slowest), ", "))
		if err := outcomes[i].Err; err != nil {
			fmt.Fprintf(w, "%v\n", err)
		}
	}
	var group errgroup.Group
	group.SetLimit(max(jobs, 1))
	for _, turn := range turns(columns) {
		group.Go(func() error {
			for _, i := range turn {
				one(i)
			}
			return nil
		})
	}
	_ = group.Wait() // what goes wrong is in the outcomes
	return outcomes
}

// turns are the columns that run one after the other: rooms and what else runs on this
// machine's own kernel, where each sees the containers of the others; and each machine of
// the lab by itself.
func turns(columns []Column) [][]int {
	all := [][]int{nil}
	for i, c := range columns {
		if c.Kernel.Name == "" {
			all[0] = append(all[0], i)
		} else {
			all = append(all, []int{i})
		}
	}
	return all
}
