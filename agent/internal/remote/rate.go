// SPDX-License-Identifier: Apache-2.0

package remote

import (
	"maps"
	"sync"
	"time"
)

const (
	// perRequest is how often a policy may make one, burst how many of them at once.
	perRequest = time.Second
	burst      = 10
	// maxRates bounds how many policies are remembered.
	maxRates = 1024
)

// rates are those of policies: for each the time up to which its requests are paid
// for, perRequest each, which may be burst of them ahead.
type rates struct {
	mu   sync.Mutex
	paid map[string]time.Time
}

// take tells whether a policy may make a request now.
func (r *rates) take(policy string, at time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.paid == nil {
		r.paid = map[string]time.Time{}
	}
	paid, known := r.paid[policy]
	if !known && len(r.paid) >= maxRates {
		// What has nothing paid ahead is as good as unknown.
		maps.DeleteFunc(r.paid, func(_ string, paid time.Time) bool { return !paid.After(at) })
		if len(r.paid) >= maxRates {
			return false
		}
	}
	if paid.Before(at) {
		paid = at
	}
	if paid.Sub(at) > (burst-1)*perRequest {
		return false
	}
	r.paid[policy] = paid.Add(perRequest)
	return true
}
