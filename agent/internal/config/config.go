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
	// ProcessCred and ProcessNS: events tell the credentials and capabilities of
	// processes, and their namespaces.
	ProcessCred bool `yaml:"process-cred"`
	ProcessNS   bool `yaml:"process-ns"`
	// ProcessEnvironment: events tell the environments of processes. EnvironmentVariables
	// are the names of the variables that they tell; empty = all.
	ProcessEnvironment   bool     `yaml:"process-environment"`
	EnvironmentVariables []string `yaml:"environment-variables"`
	// EventQueue is how many events may wait for one reader before it loses some.
	EventQueue int `yaml:"event-queue"`
	// CgroupRate is how many events of processes a cgroup, or a container with all of
	// its own, may make in an interval before its execs and exits are left out:
	// "EVENTS,INTERVAL"; empty = all are told. Policies and their events are not limited.
	CgroupRate string `yaml:"cgroup-rate"`
	// ExposeStackAddresses: stacks in events have addresses, which tell where the
	// kernel and programs are in memory.
	ExposeStackAddresses bool `yaml:"expose-stack-addresses"`
	// EnableAncestors are the kinds of events that have the ancestors of their
	// process: base (execs and exits), kprobe, tracepoint, lsm, loader, uprobe, usdt.
	EnableAncestors []string `yaml:"enable-ancestors"`
	// UsernameMetadata is where users of the host get their names in events from:
	// disabled, or unix for /etc/passwd.
	UsernameMetadata string `yaml:"username-metadata"`
	// MetricsAddress is where metrics are served: "host:port", or a unix socket as
	// "unix:///path" or its path; empty = nowhere.
	MetricsAddress string `yaml:"metrics-address"`
	// MetricsAllowRemote lets MetricsAddress be one that other hosts reach. Nobody who
	// asks is identified, and metrics tell names of workloads, policies and programs.
	MetricsAllowRemote bool `yaml:"metrics-allow-remote"`
	// MetricsLabels are the labels of workloads that metrics have, of namespace,
	// workload, pod, container and binary.
	MetricsLabels []string `yaml:"metrics-labels"`
	// MetricsCompatible: what dashboards know by names with tetragon_ is offered under
	// these too.
	MetricsCompatible bool `yaml:"metrics-compatible"`
	// MetricsProgramStats makes the kernel count runs and time of BPF programs, of all
	// that there are, while the agent runs: two looks at a clock for each run.
	MetricsProgramStats bool `yaml:"metrics-program-stats"`
	// RedactionFilters say what no event tells of arguments and environments: JSON
	// objects with the fields of the API's RedactionFilter, one after another. The daemon
	// reads them.
	RedactionFilters string `yaml:"redaction-filters"`
	// ClusterName is the cluster's name in events; empty = none.
	ClusterName string `yaml:"cluster-name"`

	// ExportFilename is the file that events are written to; empty = none. It and the
	// settings after it are those of one Export, by the names that operators know.
	ExportFilename              string        `yaml:"export-filename"`
	ExportFileMaxSizeMB         int           `yaml:"export-file-max-size-mb"`
	ExportFileRotationInterval  time.Duration `yaml:"export-file-rotation-interval"`
	ExportFileMaxBackups        int           `yaml:"export-file-max-backups"`
	ExportFileCompress          bool          `yaml:"export-file-compress"`
	ExportFilePerm              string        `yaml:"export-file-perm"`
	ExportRateLimit             int           `yaml:"export-rate-limit"`
	ExportAllowlist             string        `yaml:"export-allowlist"`
	ExportDenylist              string        `yaml:"export-denylist"`
	ExportFieldFilters          string        `yaml:"export-field-filters"`
	EnableExportAggregation     bool          `yaml:"enable-export-aggregation"`
	ExportAggregationWindowSize time.Duration `yaml:"export-aggregation-window-size"`
	ExportAggregationBufferSize int           `yaml:"export-aggregation-buffer-size"`
	// Exports are more files; they have no flag.
	Exports []Export `yaml:"exports"`
	// HealthServerAddress is where grpc.health.v1 is answered beside the API's socket:
	// a unix socket as "unix:///path" or its path, or HOST:PORT of loopback; empty =
	// nowhere.
	HealthServerAddress string `yaml:"health-server-address"`
	// EnableReflection: the API tells which services and methods it has.
	EnableReflection bool `yaml:"enable-reflection"`
	// PprofAddress is where profiles of the agent can be had over HTTP: a unix socket
	// as "unix:///path" or its path, or HOST:PORT of loopback, where all users of this
	// host may; empty = nowhere.
	PprofAddress string `yaml:"pprof-address"`
}

// Default is the configuration of an agent that is told nothing.
func Default() Config {
	export := defaultExport()
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

		UsernameMetadata:    "disabled",
		ExportFileMaxSizeMB: export.MaxSizeMB, ExportFileMaxBackups: export.MaxBackups, ExportFilePerm: export.Permissions,
		ExportRateLimit:             export.RateLimit,
		ExportAggregationWindowSize: export.Aggregation.WindowSize, ExportAggregationBufferSize: export.Aggregation.BufferSize,
		MetricsLabels:     []string{"namespace", "workload", "pod", "binary"},
		MetricsCompatible: true,
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

// MetricsSocket is the path of the socket of metrics; empty when they are served
// elsewhere or nowhere.
func (c Config) MetricsSocket() string {
	if a, reason := parseAddress(c.MetricsAddress); reason == "" {
		return a.socket
	}
	return ""
}
