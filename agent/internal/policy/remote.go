// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	maxURL  = 2048
	maxName = 253
	// maxNameLabel is how long a part between dots may be.
	maxNameLabel = 63
)

// Remote tells whether the action is done by the agent, and to other hosts.
func (k ActionKind) Remote() bool { return k == GetURL || k == DNSLookup }

// RefuseRemote is a fault for each remote action that there is a reason against; nil
// without any. Their lines are those of their hooks.
func (p *Policy) RefuseRemote(reason func(ActionKind) string) error {
	var faults []error
	for _, h := range p.Hooks {
		for i, s := range h.Selectors {
			for j, a := range s.Actions {
				if !a.Kind.Remote() {
					continue
				}
				if why := reason(a.Kind); why != "" {
					faults = append(faults, h.at.below(".selectors[%d].matchActions[%d]", i, j).fault("%s", why))
				}
			}
		}
	}
	return errors.Join(faults...)
}

// remote decodes what an action asks of other hosts.
func (h hook) remote(action, address, name value, a *Action) {
	for _, field := range []struct {
		value  value
		key    string
		kind   ActionKind
		reason func(string) string
	}{{address, "argUrl", GetURL, urlFault}, {name, "argFqdn", DNSLookup, nameFault}} {
		switch {
		case a.Kind != field.kind && given(field.value):
			h.fault(field.value, "%s takes no %s; %s does", a.Kind, field.key, field.kind)
		case a.Kind != field.kind:
		case !given(field.value):
			h.fault(action, "%s needs %s", a.Kind, field.key)
		default:
			text, ok := h.text(field.value)
			if reason := field.reason(text); ok && reason != "" {
				h.fault(field.value, "%s", reason)
			}
			a.Target = text
		}
	}
}

// urlFault is why a text is no URL that can be got.
func urlFault(s string) string {
	if len(s) > maxURL {
		return fmt.Sprintf("is %d bytes long, more than %d", len(s), maxURL)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return quote(s) + " is no URL"
	case u.Scheme != "http" && u.Scheme != "https":
		return quote(s) + " is no URL that begins with http:// or https://"
	case u.Hostname() == "":
		return quote(s) + " names no host"
	}
	if u.Port() != "" {
		if n, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || n == 0 {
			return quote(u.Port()) + " is no port"
		}
	}
	if address, err := netip.ParseAddr(u.Hostname()); err == nil {
		return AddressFault(address)
	}
	return ""
}

// nameFault is why a text is no name to look up.
func nameFault(s string) string {
	bare := strings.TrimSuffix(s, ".")
	if len(bare) > maxName {
		return fmt.Sprintf("is %d bytes long, more than %d", len(bare), maxName)
	}
	if _, err := netip.ParseAddr(bare); err == nil {
		return quote(s) + " is an address, and no name to look up"
	}
	for label := range strings.SplitSeq(bare, ".") {
		if label == "" || len(label) > maxNameLabel || strings.ContainsFunc(label, func(r rune) bool { return !nameRune(r) && r != '-' }) {
			return quote(s) + " is no name of a host: its parts have 1 to 63 letters, digits, - and _"
		}
	}
	return ""
}

// AddressFault is why a remote action must not reach an address, and empty for one
// that it may: this host, its links and its clouds' answers to it are not for what
// a policy, or a name server, chooses.
func AddressFault(a netip.Addr) string {
	a = a.WithZone("").Unmap()
	switch inner := embedded(a); {
	case !a.IsValid():
		return "is no address"
	case a.IsUnspecified() || in(a, "0.0.0.0/8"):
		return a.String() + " is the unspecified address"
	case a.IsLoopback():
		return a.String() + " is this host (loopback)"
	case metadata(a):
		return a.String() + " is where clouds tell hosts their secrets (metadata)"
	case a.IsLinkLocalUnicast():
		return a.String() + " is on the link only (link-local)"
	case a.IsMulticast():
		return a.String() + " is a multicast address"
	case in(a, "240.0.0.0/4", "fec0::/10"):
		return a.String() + " is reserved"
	case inner.IsValid():
		if reason := AddressFault(inner); reason != "" {
			return a.String() + ": " + reason
		}
	}
	return ""
}

func in(a netip.Addr, networks ...string) bool {
	return slices.ContainsFunc(networks, func(n string) bool { return netip.MustParsePrefix(n).Contains(a) })
}

// metadata tells whether an address is one at which clouds serve credentials to
// their machines.
func metadata(a netip.Addr) bool {
	return in(a, "169.254.169.254/32", "169.254.170.2/32", "fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128",
		"100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32")
}

// embedded is the IPv4 address that gateways take out of an IPv6 one, or none.
func embedded(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return netip.Addr{}
	}
	b := a.As16()
	switch {
	case in(a, "64:ff9b::/96", "64:ff9b:1::/48", "::/96"):
		return netip.AddrFrom4([4]byte(b[12:]))
	case in(a, "2002::/16"):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return netip.Addr{}
}
