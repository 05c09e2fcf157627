// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/boltseal/boltseal/agent/internal/config"
	"github.com/boltseal/boltseal/agent/internal/export"
	"github.com/boltseal/boltseal/agent/internal/filter"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// view is a filter as export asks for it.
type view struct{ *filter.Filter }

// Fields is the event itself.
func (view) Fields(e *tetragon.GetEventsResponse) *tetragon.GetEventsResponse { return e }

// compileView is what a subscriber gets of events.
func compileView(allow, deny []*tetragon.Filter, fields []*tetragon.FieldFilter) (export.View, error) {
	if len(fields) > 0 {
		return nil, errors.New("field_filters: not supported by this version")
	}
	f, err := filter.Compile(allow, deny)
	if err != nil {
		return nil, err
	}
	return view{f}, nil
}

// parseView is what an export gets of events. Errors name the key.
func parseView(c config.Export) (export.View, error) {
	var lists [2][]*tetragon.Filter
	var faults []error
	for i, list := range [...]struct{ key, text string }{{"allow-list", c.AllowList}, {"deny-list", c.DenyList}} {
		filters, err := parseFilters(list.text)
		if err == nil {
			_, err = filter.Compile(filters, nil)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", c.Key(list.key), err))
		}
		lists[i] = filters
	}
	if strings.TrimSpace(c.FieldFilters) != "" {
		faults = append(faults, fmt.Errorf("%s: not supported by this version", c.Key("field-filters")))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return compileView(lists[0], lists[1], nil)
}

// parseFilters reads filters, JSON objects one after the other.
func parseFilters(text string) (all []*tetragon.Filter, err error) {
	for d := json.NewDecoder(strings.NewReader(text)); ; {
		var object json.RawMessage
		if err := d.Decode(&object); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("filter %d: %w", len(all)+1, err)
		}
		f := &tetragon.Filter{}
		if err := protojson.Unmarshal(object, f); err != nil {
			return nil, fmt.Errorf("filter %d: %w", len(all)+1, err)
		}
		all = append(all, f)
	}
}
