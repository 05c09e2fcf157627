// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"errors"
	"fmt"

	"github.com/boltseal/boltseal/agent/internal/filter/field"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Request is what a subscriber asked for: which events, and what of them. It is safe
// for concurrent use.
type Request struct {
	filter *Filter
	fields *field.Filters
}

// CompileRequest compiles the lists and the field filters of a request. Its
// aggregation options are not looked at. The error tells of all faults, each with the path of
// its field.
func (c Compiler) CompileRequest(r *tetragon.GetEventsRequest) (*Request, error) {
	var fault error
	if err := unknown(r.ProtoReflect()); err != nil {
		fault = fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	f, filterFault := c.Compile(r.GetAllowList(), r.GetDenyList())
	fields, fieldFault := field.Compile(r.GetFieldFilters())
	if err := errors.Join(fault, filterFault, fieldFault); err != nil {
		return nil, err
	}
	return &Request{filter: f, fields: fields}, nil
}

// Passes tells whether the subscriber gets an event.
func (r *Request) Passes(e *tetragon.GetEventsResponse) bool { return r.filter.Passes(e) }

// Fields is an event that passes, with the fields that the subscriber gets: the event
// itself or a copy, which must not be modified either, as it shares parts with it.
func (r *Request) Fields(e *tetragon.GetEventsResponse) *tetragon.GetEventsResponse {
	return r.fields.Apply(e)
}
