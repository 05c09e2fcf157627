// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	maxPatterns      = 16 // entries of the kernel's tables of names
	maxPattern       = 15 // a process name, without its NUL
	maxContainers    = 16_382
	minRing, maxRing = 64 << 10, 1 << 30 // from the largest page size on
	maxGrace         = time.Hour
	maxProcesses     = 4 << 20
	maxQueue         = 1 << 20
	maxNodeName      = 253
	maxCgroupRate    = 1 << 30

	minRateInterval, maxRateInterval = time.Millisecond, time.Hour
)

// FieldError is what is wrong with one setting.
type FieldError struct {
	// Field is the setting's key, which is also its flag.
	Field string
	// Reason says what is wrong and what would be right.
	Reason string
}

// Error is "ring-bytes: reason".
func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

// Validate checks all settings; the error joins a [*FieldError] for each bad one.
func (c Config) Validate() error {
	var faults []error
	check := func(field, reason string) {
		if reason != "" {
			faults = append(faults, &FieldError{Field: field, Reason: reason})
		}
	}
	check("server-address", socket(c.ServerAddress))
	check("log-level", oneOf(c.LogLevel, "debug", "info", "warn", "error"))
	check("log-format", oneOf(c.LogFormat, "text", "json"))
	check("policy-file", names(c.PolicyFiles))
	check("policy-dir", absolute(c.PolicyDir, true))
	check("cgroup-root", absolute(c.CgroupRoot, true))
	check("node-name", nodeName(c.NodeName))
	check("node-labels", labels(c.NodeLabels))
	check("runtime-names", patterns(c.RuntimeNames))
	check("cgroup-prefixes", patterns(c.CgroupPrefixes))
	check("max-containers", between(c.MaxContainers, 1, maxContainers))
	check("ring-bytes", powerOfTwo(c.RingBytes, minRing, maxRing))
	check("spool-dir", absolute(c.SpoolDir, false))
	check("removed-grace", between(c.RemovedGrace, 0, maxGrace))
	check("process-cache", between(c.ProcessCache, 1, maxProcesses))
	check("environment-variables", variables(c.EnvironmentVariables, c.ProcessEnvironment))
	check("event-queue", between(c.EventQueue, 1, maxQueue))
	check("cluster-name", nodeName(c.ClusterName))
	check("health-server-address", localAddress(c.HealthServerAddress))
	check("pprof-address", localAddress(c.PprofAddress))
	check("cgroup-rate", rate(c.CgroupRate))
	check("enable-ancestors", someOf(c.EnableAncestors, "base", "kprobe", "tracepoint", "lsm", "loader", "uprobe", "usdt"))
	check("username-metadata", oneOf(c.UsernameMetadata, "disabled", "unix"))
	check("metrics-address", metricsAddress(c.MetricsAddress, c.MetricsAllowRemote))
	check("metrics-labels", someOf(c.MetricsLabels, "namespace", "workload", "pod", "container", "binary"))
	return errors.Join(append(faults, c.exportFaults()...)...)
}

func rate(text string) string {
	if text == "" {
		return ""
	}
	if _, _, err := parseRate(text); err != nil {
		return err.Error()
	}
	return ""
}

// parseRate reads "EVENTS,INTERVAL".
func parseRate(text string) (events int, interval time.Duration, err error) {
	count, rest, ok := strings.Cut(text, ",")
	if ok {
		events, err = strconv.Atoi(strings.TrimSpace(count))
	}
	if !ok || err != nil {
		return 0, 0, fmt.Errorf("%q is no rate: write EVENTS,INTERVAL, as in 1000,1s", text)
	}
	if interval, err = time.ParseDuration(strings.TrimSpace(rest)); err != nil {
		return 0, 0, fmt.Errorf("%q is no interval: write it as in 1s", rest)
	}
	if reason := between(events, 1, maxCgroupRate); reason != "" {
		return 0, 0, errors.New(reason + " events")
	}
	if reason := between(interval, minRateInterval, maxRateInterval); reason != "" {
		return 0, 0, errors.New(reason)
	}
	return events, interval, nil
}

func someOf(all []string, choices ...string) string {
	for i, s := range all {
		if fault := oneOf(s, choices...); fault != "" {
			return fault
		}
		if slices.Contains(all[:i], s) {
			return fmt.Sprintf("%q is there twice", s)
		}
	}
	return ""
}

func oneOf(s string, choices ...string) string {
	if slices.Contains(choices, s) {
		return ""
	}
	return fmt.Sprintf("%q is none of %s", s, strings.Join(choices, ", "))
}

func absolute(path string, optional bool) string {
	switch {
	case path == "" && optional:
	case path == "":
		return "is empty"
	case strings.IndexByte(path, 0) >= 0:
		return "has a NUL"
	case !filepath.IsAbs(path):
		return fmt.Sprintf("%q is no absolute path", path)
	}
	return ""
}

func names(paths []string) string {
	if slices.Contains(paths, "") {
		return "has an empty name"
	}
	return ""
}

func variables(names []string, told bool) string {
	if len(names) > 0 && !told {
		return "is of no use without process-environment"
	}
	for i, name := range names {
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00"):
			return fmt.Sprintf("%q is no name of a variable", name)
		case slices.Contains(names[:i], name):
			return fmt.Sprintf("has %q twice", name)
		}
	}
	return ""
}

func labels(all []string) string {
	seen := map[string]bool{}
	for _, label := range all {
		key, _, ok := strings.Cut(label, "=")
		switch {
		case !ok || key == "":
			return fmt.Sprintf("%q is no label: write KEY=VALUE", label)
		case seen[key]:
			return fmt.Sprintf("has two labels with the key %q", key)
		}
		seen[key] = true
	}
	return ""
}

func nodeName(name string) string {
	bad := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }
	switch {
	case len(name) > maxNodeName:
		return fmt.Sprintf("is %d bytes long, more than %d", len(name), maxNodeName)
	case strings.ContainsFunc(name, bad):
		return fmt.Sprintf("%q has white space or characters that cannot be printed", name)
	}
	return ""
}

func patterns(all []string) string {
	if len(all) > maxPatterns {
		return fmt.Sprintf("has %d entries, more than %d", len(all), maxPatterns)
	}
	for i, p := range all {
		switch {
		case p == "" || len(p) > maxPattern:
			return fmt.Sprintf("%q has %d bytes, not 1 to %d", p, len(p), maxPattern)
		case strings.ContainsAny(p, "\x00/"):
			return fmt.Sprintf("%q has a NUL or a slash", p)
		case slices.Contains(all[:i], p):
			return fmt.Sprintf("%q is there twice", p)
		}
	}
	return ""
}

func between[T int | time.Duration](n, lo, hi T) string {
	if n < lo || n > hi {
		return fmt.Sprintf("%v is not from %v to %v", n, lo, hi)
	}
	return ""
}

func powerOfTwo(n, lo, hi int) string {
	if n < lo || n > hi || n&(n-1) != 0 {
		return fmt.Sprintf("%d is no power of two from %d to %d", n, lo, hi)
	}
	return ""
}
