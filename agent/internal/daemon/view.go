// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"fmt"

	"github.com/boltseal/boltseal/agent/internal/config"
	"github.com/boltseal/boltseal/agent/internal/export"
	"github.com/boltseal/boltseal/agent/internal/filter"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// parseView is what an export gets of events. Errors name the key.
func parseView(filters filter.Compiler, c config.Export) (export.View, error) {
	r := &tetragon.GetEventsRequest{}
	var faults []error
	for _, list := range [...]struct {
		key   string
		parse func(text string, into *tetragon.GetEventsRequest) error
		text  string
	}{
		{"allow-list", func(text string, into *tetragon.GetEventsRequest) (err error) {
			into.AllowList, err = filter.ParseFilters(text)
			return err
		}, c.AllowList},
		{"deny-list", func(text string, into *tetragon.GetEventsRequest) (err error) {
			into.DenyList, err = filter.ParseFilters(text)
			return err
		}, c.DenyList},
		{"field-filters", func(text string, into *tetragon.GetEventsRequest) (err error) {
			into.FieldFilters, err = filter.ParseFieldFilters(text)
			return err
		}, c.FieldFilters},
	} {
		alone := &tetragon.GetEventsRequest{}
		err := list.parse(list.text, alone)
		if err == nil {
			_, err = filters.CompileRequest(alone)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", c.Key(list.key), err))
		}
		r.AllowList, r.DenyList = append(r.AllowList, alone.AllowList...), append(r.DenyList, alone.DenyList...)
		r.FieldFilters = append(r.FieldFilters, alone.FieldFilters...)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return filters.CompileRequest(r)
}
