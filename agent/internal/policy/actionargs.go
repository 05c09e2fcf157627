// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RateScope is who shares the rate of an action.
type RateScope uint8

// The scopes of a rate. The first is the default of the language.
const (
	RateThread RateScope = iota
	RateProcess
	RateGlobal
)

// String is the scope as the language spells it.
func (s RateScope) String() string {
	switch s {
	case RateThread:
		return "thread"
	case RateProcess:
		return "process"
	case RateGlobal:
		return "global"
	}
	return fmt.Sprintf("RateScope(%d)", uint8(s))
}

// postArgs are the arguments of an action that only Post takes, as written.
type postArgs struct {
	rate, scope, kernelStack, userStack, hash value
}

// keys are the keys of the arguments.
func (p *postArgs) keys(known map[string]func(value)) map[string]func(value) {
	known["rateLimit"] = func(v value) { p.rate = v }
	known["rateLimitScope"] = func(v value) { p.scope = v }
	known["kernelStackTrace"] = func(v value) { p.kernelStack = v }
	known["userStackTrace"] = func(v value) { p.userStack = v }
	known["imaHash"] = func(v value) { p.hash = v }
	return known
}

// elsewhere are the keys of arguments whose actions hooks of the kernel do not
// have, with the reason.
func (h hook) elsewhere(known map[string]func(value)) map[string]func(value) {
	for reason, keys := range map[string][]string{
		"was withdrawn from the language with FollowFD":              {"argFd", "argName"},
		"is for usdts: Set changes the argument of a probe there":    {"argIndex", "argValue"},
		"is for uprobes, whose Override changes a program's own act": {"argRegs", "argNewSymbol", "argNewAddr", "argNewOffset"},
	} {
		for _, key := range keys {
			known[key] = func(v value) {
				if given(v) {
					h.fault(v, "%s", reason)
				}
			}
		}
	}
	return known
}

// post decodes what a Post says beside making an event.
func (h hook) post(a *Action, p postArgs) {
	if a.Kind != Post {
		for _, v := range []value{p.rate, p.scope, p.kernelStack, p.userStack, p.hash} {
			if given(v) {
				h.fault(v, "%s makes no event; %s takes it", a.Kind, Post)
			}
		}
		return
	}
	if p.rate.node != nil {
		a.RateLimit = h.rateLimit(p.rate)
	}
	if given(p.scope) {
		a.RateScope = h.rateScope(p.scope)
		if !given(p.rate) {
			h.fault(p.scope, "there is no rateLimit that it is of")
		}
	}
	a.KernelStack, a.UserStack = h.stack(p.kernelStack), h.stack(p.userStack)
	if p.hash.node != nil {
		a.Hash = h.boolean(p.hash)
	}
	if a.Hash && !h.hashes() {
		h.fault(p.hash, "is for the lsmhooks at which a program may read the file: %s", strings.Join(hashHooks(), ", "))
	}
	if a.Hash && h.call == "file_open" {
		h.warn(p.hash, "a file that is opened for reading cannot be read yet: without an IMA policy that has measured it there is a hash only of files opened for writing alone; file_post_open (Linux 6.9) has those of all")
	}
}

// rateLimit is a number of seconds, or with its unit: "5", "5s", "5m", "5h". 0 is
// no limit.
func (h hook) rateLimit(v value) time.Duration {
	text, ok := h.text(v)
	if !ok || text == "" {
		return 0
	}
	unit := time.Second
	digits := text
	for suffix, of := range map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour} {
		if before, ok := strings.CutSuffix(strings.ToLower(text), suffix); ok {
			digits, unit = before, of
		}
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	switch most := uint64(math.MaxUint32) / uint64(unit/time.Second); {
	case err != nil:
		h.fault(v, "%s is no time: write a number of seconds, or one with s, m or h", quote(text))
	case n > most:
		h.fault(v, "%s is longer than %d seconds", quote(text), uint32(math.MaxUint32))
	default:
		return time.Duration(n) * unit
	}
	return 0
}

func (h hook) rateScope(v value) RateScope {
	text, ok := h.text(v)
	if !ok {
		return RateThread
	}
	for s := RateThread; s <= RateGlobal; s++ {
		if strings.EqualFold(text, s.String()) {
			return s
		}
	}
	h.fault(v, "%s is none of %s, %s and %s", quote(text), RateThread, RateProcess, RateGlobal)
	return RateThread
}

func (h hook) stack(v value) bool {
	if v.node == nil {
		return false
	}
	on := h.boolean(v)
	if on && h.section != Kprobes && h.section != Fentries {
		h.warn(v, "does nothing: the API's message for %s has no field for a stack; those for %s and %s have one", h.section, Kprobes, Fentries)
		return false
	}
	return on
}

// hashHooks are the security hooks at which the kernel lets a program read the
// file that the hook is about.
func hashHooks() []string {
	return []string{
		"bprm_check_security", "bprm_committed_creds", "bprm_committing_creds", "bprm_creds_from_file", "file_ioctl",
		"file_lock", "file_open", "file_post_open", "file_receive", "mmap_file",
	}
}

func (h hook) hashes() bool { return h.section == LSMHooks && slices.Contains(hashHooks(), h.call) }
