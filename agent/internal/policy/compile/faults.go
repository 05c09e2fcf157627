// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// maxFaults is of how many hooks the faults are told. A list can stand for many more.
const maxFaults = 100

// faults collects what is wrong, so that one answer names all of it.
type faults struct {
	errs []error
}

// add notes what is wrong with the field at path. Faults that package policy
// found know their fields by themselves.
func (f *faults) add(path string, err error) {
	if len(policy.Faults(err)) == 0 {
		err = &policy.FieldError{Path: path, Reason: err.Error(), Err: err}
	}
	f.errs = append(f.errs, err)
}

func (f *faults) join() error { return errors.Join(f.errs...) }
