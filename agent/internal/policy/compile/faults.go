// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"
	"fmt"
)

// faults collects what is wrong, so that one answer names all of it.
type faults struct {
	errs []error
}

func (f *faults) add(path string, err error) {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, e := range joined.Unwrap() {
			f.errs = append(f.errs, fmt.Errorf("%s.%w", path, e))
		}
		return
	}
	f.errs = append(f.errs, fmt.Errorf("%s: %w", path, err))
}

func (f *faults) join() error { return errors.Join(f.errs...) }
