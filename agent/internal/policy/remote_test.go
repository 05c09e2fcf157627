// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// remoteText is a policy with an action of its own in each section.
func remoteText(action string) string {
	hook := "selectors: [{matchActions: [{action: Post}, {" + action + "}]}]}]\n"
	return wrap("  tracepoints: [{subsystem: a, event: b, " + hook + "  kprobes: [{call: sys_a, " + hook +
		"  lsmhooks: [{hook: a, " + hook + "  fentries: [{call: sys_a, " + hook)
}

func TestRemoteActions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text   string
		kind   ActionKind
		target string
	}{
		{"action: GetUrl, argUrl: 'https://user:word@example.org:8443/a?b=c#d'", GetURL, "https://user:word@example.org:8443/a?b=c#d"},
		{"action: geturl, argUrl: 'http://10.0.0.1/', argFqdn: ''", GetURL, "http://10.0.0.1/"},
		{"action: GetUrl, argUrl: 'http://[fd00::1]:80'", GetURL, "http://[fd00::1]:80"},
		{"action: DnsLookup, argFqdn: a_b.Example.org.", DNSLookup, "a_b.Example.org."},
		{"action: DnsLookup, argFqdn: " + strings.Repeat("a", 63), DNSLookup, strings.Repeat("a", 63)},
	} {
		p, err := Parse([]byte(remoteText(c.text)))
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		for _, h := range p.Hooks {
			s := h.Selectors[0]
			if want := (Action{Kind: c.kind, Target: c.target}); s.Actions[1] != want || !s.Posts() || !s.Enforces() {
				t.Errorf("%s in %s: %+v", c.text, h.Path(), s)
			}
		}
		// The mode holds them back, so that there is one to choose.
		if monitored, err := p.WithMode(Monitor); p.Mode != Enforce || err != nil || monitored.Mode != Monitor {
			t.Errorf("%s: mode %s, %v", c.text, p.Mode, err)
		}
	}
}

func TestRemoteActionFaults(t *testing.T) {
	t.Parallel()
	const at = "spec.tracepoints[0].selectors[0].matchActions[1]"
	for _, c := range []struct{ action, path, reason string }{
		{"action: GetUrl", at, "GetUrl needs argUrl"},
		{"action: GetUrl, argUrl: ''", at, "GetUrl needs argUrl"},
		{"action: DnsLookup, argUrl: 'http://a/'", at + ".argUrl", "DnsLookup takes no argUrl; GetUrl does"},
		{"action: DnsLookup, argUrl: 'http://a/'", at, "DnsLookup needs argFqdn"},
		{"action: Post, argFqdn: a", at + ".argFqdn", "Post takes no argFqdn; DnsLookup does"},
		{"action: GetUrl, argUrl: [a]", at + ".argUrl", "needs text"},
		{"action: GetUrl, argUrl: 'ftp://a/'", at + ".argUrl", "begins with http:// or https://"},
		{"action: GetUrl, argUrl: example.org", at + ".argUrl", "begins with http:// or https://"},
		{"action: GetUrl, argUrl: 'http:///path'", at + ".argUrl", "names no host"},
		{"action: GetUrl, argUrl: 'http://a:0/'", at + ".argUrl", "is no port"},
		{"action: GetUrl, argUrl: 'http://a:65536/'", at + ".argUrl", "is no port"},
		{`action: GetUrl, argUrl: "http://a/\n"`, at + ".argUrl", "is no URL"},
		{"action: GetUrl, argUrl: 'http://a/" + strings.Repeat("x", maxURL) + "'", at + ".argUrl", "more than 2048"},
		{"action: GetUrl, argUrl: 'http://127.0.0.1/'", at + ".argUrl", "loopback"},
		{"action: GetUrl, argUrl: 'http://[::1]:8080/'", at + ".argUrl", "loopback"},
		{"action: GetUrl, argUrl: 'http://169.254.169.254/latest'", at + ".argUrl", "metadata"},
		{"action: GetUrl, argUrl: 'http://[fe80::1%25eth0]/'", at + ".argUrl", "link-local"},
		{"action: DnsLookup, argFqdn: 10.0.0.1", at + ".argFqdn", "is an address"},
		{"action: DnsLookup, argFqdn: .", at + ".argFqdn", "is no name of a host"},
		{"action: DnsLookup, argFqdn: a..b", at + ".argFqdn", "is no name of a host"},
		{"action: DnsLookup, argFqdn: 'a b'", at + ".argFqdn", "is no name of a host"},
		{"action: DnsLookup, argFqdn: ü.org", at + ".argFqdn", "is no name of a host"},
		{"action: DnsLookup, argFqdn: " + strings.Repeat("a", 64), at + ".argFqdn", "is no name of a host"},
		{"action: DnsLookup, argFqdn: " + strings.Repeat("a.", 127) + "a", at + ".argFqdn", "more than 253"},
	} {
		_, err := Parse([]byte(remoteText(c.action)))
		found := false
		for _, f := range Faults(err) {
			found = found || f.Path == c.path && f.Line > 0 && strings.Contains(f.Reason, c.reason)
		}
		if !found {
			t.Errorf("%s: %v; want %s: %s", c.action, err, c.path, c.reason)
		}
	}
}

func TestRefuseRemote(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(remoteText("action: GetUrl, argUrl: 'http://a/'")))
	if err != nil {
		t.Fatal(err)
	}
	err = p.RefuseRemote(func(k ActionKind) string { return k.String() + " is off" })
	faults := Faults(err)
	if len(faults) != len(p.Hooks) || fmt.Sprint(faults[1]) != "line 7: spec.kprobes[0].selectors[0].matchActions[1]: GetUrl is off" {
		t.Errorf("refused: %v", err)
	}
	if err := p.RefuseRemote(func(ActionKind) string { return "" }); err != nil || errors.Is(err, ErrUnsupported) {
		t.Errorf("allowed: %v", err)
	}
}
