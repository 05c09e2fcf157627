// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"strings"
	"time"

	"github.com/boltseal/boltseal/agent/internal/policy"
	"github.com/boltseal/boltseal/bpf"
)

// MaxRates is for how many values it is remembered when an event was made: the
// one that was used least is forgotten first, and its next event is made.
const MaxRates = int(bpf.WireLimitsRATES_MAX)

// Rate says how often events are made whose arguments are alike.
type Rate struct {
	// Interval is what has to pass between two of them, in whole seconds; 0: nothing.
	Interval time.Duration
	// Scope is for whom.
	Scope policy.RateScope
}

// addPost notes what a Post says of its events.
func (r *Rule) addPost(a policy.Action) error {
	rate := Rate{Interval: a.RateLimit, Scope: a.RateScope}
	if rate.Interval != 0 && r.Rate.Interval != 0 && rate != r.Rate {
		return errSecond
	}
	if rate.Interval != 0 {
		r.Rate = rate
	}
	r.KernelStack = r.KernelStack || a.KernelStack
	r.UserStack = r.UserStack || a.UserStack
	r.FileHash = r.FileHash || a.Hash
	return nil
}

// HashSource is where programs of the site find the file whose hash events have.
func (s Site) HashSource() bpf.WireHashSource {
	switch {
	case s.Kind != LSM:
		return bpf.WireHashSourceHASH_NONE
	case strings.HasPrefix(s.Name, "bprm_"):
		return bpf.WireHashSourceHASH_BINPRM
	}
	return bpf.WireHashSourceHASH_FILE
}
