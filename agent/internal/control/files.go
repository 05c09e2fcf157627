// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// claim tells whether a policy with a key may take the place of the one that is
// there, nil if none. Files may take over from each other: who reads them knows
// which of them has the name.
func claim(key string, old *held, file string) error {
	switch {
	case old == nil || (old.file == "") == (file == ""):
		return nil
	case file == "":
		return fmt.Errorf("%w: policy %q is that of file %s: change or remove the file", ErrOwned, key, old.file)
	}
	return fmt.Errorf("%w: policy %q was added over the API: delete it there first", ErrOwned, key)
}

// AddFilePolicy puts the policy of a file in force. One of the same name is replaced
// in one step, unless it is of the API: then the error wraps ErrOwned. instead is the
// key of one that the file had before under another name, which goes in the same
// step; empty: none. On error nothing has changed.
func (c *Controller) AddFilePolicy(file string, p *policy.Policy, instead string) error {
	return c.add(p, file, instead)
}

// DeleteFilePolicy takes the policy with a key out of force if it is a file's.
func (c *Controller) DeleteFilePolicy(key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.policies[key]
	if h == nil || h.file == "" {
		return fmt.Errorf("policy %q of a file: %w", key, ErrNotFound)
	}
	if err := c.exchange(change{key, nil}); err != nil {
		return err
	}
	return c.Engine.Unload(h.id)
}
