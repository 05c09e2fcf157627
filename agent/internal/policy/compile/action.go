// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"errors"
	"fmt"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// errSecond says that a selector asks for two things of which a rule does one.
var errSecond = errors.New("a second one of its kind in the selector")

// addAction notes what an action does.
func (r *Rule) addAction(a policy.Action, hook *Hook) error {
	switch a.Kind {
	case policy.Sigkill, policy.Signal:
		return addSignal(&r.Signal, a)
	case policy.TrackSock, policy.UntrackSock:
		return r.Track.add(a, hook)
	case policy.Override:
		if r.Overrides && r.Error != a.Error {
			return errSecond
		}
		r.Overrides, r.Error = true, a.Error
	case policy.Post:
		return r.addPost(a)
	case policy.CleanupEnforcerNotification:
		r.Unnotifies = true
	case policy.NotifyEnforcer:
		if r.Notifies && (r.NoticeSignal != a.Signal || r.NoticeError != a.Error) {
			return errSecond
		}
		r.Notifies, r.NoticeSignal, r.NoticeError = true, a.Signal, a.Error
	case policy.GetURL, policy.DNSLookup:
		r.Remote = append(r.Remote, a)
	}
	return nil
}

// addSignal notes a signal that is sent.
func addSignal(sent *uint8, a policy.Action) error {
	signal := a.Signal
	if a.Kind == policy.Sigkill {
		signal = sigkill
	}
	switch {
	case *sent == 0 || signal == sigkill:
		// Of a process that is killed another signal would change nothing.
		*sent = signal
	case *sent != sigkill && *sent != signal:
		return fmt.Errorf("%w: %w", errSecond, policy.ErrUnsupported)
	}
	return nil
}

const sigkill = 9
