// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const (
	unixScheme = "unix://"

	maxSocketPath = 107 // the address of a unix socket, without its NUL
)

// address is where something listens: a unix socket, or a port.
type address struct {
	// socket is the path of a unix socket; empty for a port.
	socket string
	// loopback: only this machine reaches the port.
	loopback bool
}

// parseAddress reads "unix:///path", the path alone, or "HOST:PORT". A host is an IP
// address, localhost or none: another name could be anybody's.
func parseAddress(text string) (a address, reason string) {
	if strings.HasPrefix(text, "/") || strings.HasPrefix(text, unixScheme) {
		return address{socket: strings.TrimPrefix(text, unixScheme)}, socket(text)
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return a, fmt.Sprintf("%q is neither unix:///path nor HOST:PORT", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return a, fmt.Sprintf("%q has no port from 1 to 65535", text)
	}
	ip, err := netip.ParseAddr(host)
	if err != nil && host != "localhost" && host != "" {
		return a, fmt.Sprintf("%q has the name of a host: write its IP address, or localhost", text)
	}
	return address{loopback: host == "localhost" || err == nil && ip.Unmap().IsLoopback()}, ""
}

// localAddress is one that only this machine reaches, or empty.
func localAddress(text string) string {
	return listenAddress(text, false, "write localhost, 127.0.0.1 or [::1]")
}

// metricsAddress is one that others reach only where that is allowed, or empty.
func metricsAddress(text string, allowRemote bool) string {
	return listenAddress(text, allowRemote, "say metrics-allow-remote if that is meant")
}

func listenAddress(text string, allowRemote bool, instead string) string {
	if text == "" {
		return ""
	}
	a, reason := parseAddress(text)
	if reason == "" && a.socket == "" && !a.loopback && !allowRemote {
		return fmt.Sprintf("%q can be reached by other hosts: %s", text, instead)
	}
	return reason
}

func socket(address string) string {
	path := strings.TrimPrefix(address, unixScheme)
	switch {
	case strings.HasPrefix(path, "/") && len(path) > maxSocketPath:
		return fmt.Sprintf("path is %d bytes long; a socket's has at most %d", len(path), maxSocketPath)
	case strings.HasPrefix(path, "/") && strings.HasSuffix(path, "/"):
		return fmt.Sprintf("%q is a directory", path)
	case strings.HasPrefix(path, "/"):
		return absolute(path, false)
	}
	return fmt.Sprintf("%q is no unix socket: write unix:///path", address)
}
