// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"

	"github.com/boltseal/boltseal/agent/internal/policy"
)

// returned is what a selector asks of what the function returns, and does then. What
// is reported of it is reported then.
func returned(h policy.Hook, s policy.Selector, mode policy.Mode) (conditions, then []string) {
	conditions, then = []string{}, append([]string{}, actionsWords(s.ReturnActions, mode)...)
	if h.ReturnArg == nil {
		return conditions, then
	}
	for _, f := range s.ReturnArgs {
		conditions = append(conditions, argWords(f, []policy.Arg{*h.ReturnArg}, []string{"what it returned"}))
	}
	return conditions, then
}

func sockWords(at int) string {
	if at == policy.ReturnValue {
		return "the socket that it returned"
	}
	return fmt.Sprintf("the socket in args[%d]", at)
}
