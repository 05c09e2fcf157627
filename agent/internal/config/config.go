// SPDX-License-Identifier: Apache-2.0

// Package config is the configuration of the agent: a plain value, put together
// once at start from defaults, a YAML file, the environment and flags, the later
// winning. The keys of the file are the names of the flags.
package config

import (
	"log/slog"
	"strings"
	"time"
)

// DefaultPath is the file that is read when no other is named. It need not exist.
const DefaultPath = "/etc/boltseal/boltseald.yaml"

// Config is the agent's configuration. It is a value: copy it, and pass on the
// parts that a component needs.
type Config struct {
	// ServerAddress is the socket of the API: "unix:///path", or the path alone.
	ServerAddress string `yaml:"server-address"`
	// LogLevel is debug, info, warn or error.
	LogLevel string `yaml:"log-level"`
	// LogFormat is text or json.
	LogFormat string `yaml:"log-format"`
	// PolicyFiles are policies to load at start; they are not looked at again.
	PolicyFiles []string `yaml:"policy-file"`
	// PolicyDir holds policies, as *.yaml, that are loaded at start and whenever they
	// change; empty = none. It need not exist.
	PolicyDir string `yaml:"policy-dir"`
	// AllowGetURL and AllowDNSLookup let policies make the agent get URLs and look
	// names up.
	AllowGetURL    bool `yaml:"allow-get-url"`
	AllowDNSLookup bool `yaml:"allow-dns-lookup"`
	// CgroupRoot is where the unified hierarchy is mounted; empty = find out.
	CgroupRoot string `yaml:"cgroup-root"`
	// NodeName is the host's name in events; empty = the host name.
	NodeName string `yaml:"node-name"`
	// NodeLabels are the labels of this node, each KEY=VALUE, that a policy's
	// nodeSelector asks for. kubernetes.io/hostname is the node's name, unless it
	// is among them.
	NodeLabels []string `yaml:"node-labels"`
	// RuntimeNames are the process names of container runtimes: a cgroup that one
	// of them makes is taken for a container's. At most 16 of at most 15 bytes.
	RuntimeNames []string `yaml:"runtime-names"`
	// CgroupPrefixes are what may stand before the 64 digits in the name of a
	// container's cgroup. At most 16 of at most 15 bytes.
	CgroupPrefixes []string `yaml:"cgroup-prefixes"`
	// MaxContainers is how many containers may be alive at once.
	MaxContainers int `yaml:"max-containers"`
	// RingBytes is the size of the kernel's event ring, a power of two.
	RingBytes int `yaml:"ring-bytes"`
	// SpoolDir is where hooks leave requests that the agent was not there for.
	SpoolDir string `yaml:"spool-dir"`
	// RemovedGrace is how long a removed container is remembered for the events
	// that are still under way.
	RemovedGrace time.Duration `yaml:"removed-grace"`
	// ProcessCache is how many processes are remembered.
	ProcessCache int `yaml:"process-cache"`
	// EventQueue is how many events may wait for one reader before it loses some.
	EventQueue int `yaml:"event-queue"`
	// CgroupRate is how many events of processes a cgroup, or a container with all of
	// its own, may make in an interval before its execs and exits are left out:
	// "EVENTS,INTERVAL"; empty = all are told. Policies and their events are not limited.
	CgroupRate string `yaml:"cgroup-rate"`
	// ExposeStackAddresses: stacks in events have addresses, which tell where the
	// kernel and programs are in memory.
	ExposeStackAddresses bool `yaml:"expose-stack-addresses"`
}

// Default is the configuration of an agent that is told nothing.
func Default() Config {
	return Config{
		ServerAddress:  "unix:///run/boltseal/boltseal.sock",
		LogLevel:       "info",
		LogFormat:      "text",
		PolicyDir:      "/etc/boltseal/policies",
		RuntimeNames:   []string{"runc", "crun", "youki"},
		CgroupPrefixes: []string{"docker-", "libpod-", "crio-", "cri-containerd-", "nerdctl-"},
		MaxContainers:  10_000,
		RingBytes:      8 << 20,
		SpoolDir:       "/run/boltseal/spool",
		RemovedGrace:   30 * time.Second,
		ProcessCache:   65_536,
		EventQueue:     10_000,
	}
}

// SocketPath is the path of the API's socket.
func (c Config) SocketPath() string { return strings.TrimPrefix(c.ServerAddress, unixScheme) }

// ProcessRate is what CgroupRate says; zeros when it is empty or invalid.
func (c Config) ProcessRate() (events int, interval time.Duration) {
	events, interval, err := parseRate(c.CgroupRate)
	if err != nil {
		return 0, 0
	}
	return events, interval
}

// Level is the log level; Info when LogLevel is invalid.
func (c Config) Level() slog.Level {
	switch c.LogLevel {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}
