// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

const (
	configFlag = "config"

	// nodeNameEnv is how Kubernetes manifests tell a pod the name of its node.
	nodeNameEnv = "NODE_NAME"

	maxFileBytes = 1 << 20
)

// Register adds the agent's flags, and --config for the file, to flags.
func Register(flags *pflag.FlagSet) {
	c := Default()
	bind(flags, &c)
	flags.String(configFlag, DefaultPath, "YAML file of settings, keyed like these flags")
}

// bind adds a flag for each setting, which sets the field of c.
func bind(flags *pflag.FlagSet, c *Config) {
	flags.StringVar(&c.ServerAddress, "server-address", c.ServerAddress, "unix socket of the API")
	flags.StringVar(&c.LogLevel, "log-level", c.LogLevel, "debug, info, warn or error")
	flags.StringVar(&c.LogFormat, "log-format", c.LogFormat, "text or json")
	flags.StringArrayVar(&c.PolicyFiles, "policy-file", c.PolicyFiles, "policy to load at start; may be repeated")
	flags.StringVar(&c.PolicyDir, "policy-dir", c.PolicyDir, "directory of policies (*.yaml), loaded at start and when they change")
	flags.BoolVar(&c.AllowGetURL, "allow-get-url", c.AllowGetURL, "let policies have the action GetUrl: the agent gets a URL, never of this host or its link")
	flags.BoolVar(&c.AllowDNSLookup, "allow-dns-lookup", c.AllowDNSLookup, "let policies have the action DnsLookup: the agent looks a name up")
	flags.StringVar(&c.CgroupRoot, "cgroup-root", c.CgroupRoot, "mount point of the cgroup2 hierarchy (default: find out)")
	flags.StringVar(&c.NodeName, "node-name", c.NodeName, "name of this host in events (default: $"+nodeNameEnv+", or the host name)")
	flags.StringSliceVar(&c.NodeLabels, "node-labels", c.NodeLabels, "labels of this node, KEY=VALUE, for the nodeSelector of policies")
	flags.StringSliceVar(&c.RuntimeNames, "runtime-names", c.RuntimeNames, "process names of container runtimes, whose cgroups are taken for containers")
	flags.StringSliceVar(&c.CgroupPrefixes, "cgroup-prefixes", c.CgroupPrefixes, "what may stand before the id in the name of a container's cgroup")
	flags.IntVar(&c.MaxContainers, "max-containers", c.MaxContainers, "containers alive at once")
	flags.IntVar(&c.RingBytes, "ring-bytes", c.RingBytes, "size of the kernel's event ring, a power of two")
	flags.StringVar(&c.SpoolDir, "spool-dir", c.SpoolDir, "where hooks leave requests while the agent is away")
	flags.DurationVar(&c.RemovedGrace, "removed-grace", c.RemovedGrace, "how long a removed container is remembered")
	flags.IntVar(&c.ProcessCache, "process-cache", c.ProcessCache, "processes remembered")
	flags.BoolVar(&c.ProcessCred, "process-cred", c.ProcessCred, "tell the credentials and capabilities of processes in events")
	flags.BoolVar(&c.ProcessNS, "process-ns", c.ProcessNS, "tell the namespaces of processes in events")
	flags.BoolVar(&c.ProcessEnvironment, "process-environment", c.ProcessEnvironment, "tell the environments of processes in events, which can hold secrets")
	flags.StringSliceVar(&c.EnvironmentVariables, "environment-variables", c.EnvironmentVariables, "names of the variables that are told of environments (default: all)")
	flags.IntVar(&c.EventQueue, "event-queue", c.EventQueue, "events that may wait for one reader")
	flags.StringVar(&c.CgroupRate, "cgroup-rate", c.CgroupRate, "EVENTS,INTERVAL: execs and exits of a cgroup that makes more are left out (default: all are told)")
	flags.BoolVar(&c.ExposeStackAddresses, "expose-stack-addresses", c.ExposeStackAddresses, "tell the addresses of stacks in events")
	flags.StringSliceVar(&c.EnableAncestors, "enable-ancestors", c.EnableAncestors, "events that have the ancestors of their process: base, kprobe, tracepoint, lsm, loader, uprobe, usdt")
	flags.StringVar(&c.UsernameMetadata, "username-metadata", c.UsernameMetadata, "disabled, or unix: events name the users of the host by /etc/passwd")
	flags.StringVar(&c.MetricsAddress, "metrics-address", c.MetricsAddress, "where metrics are served: host:port, or unix:///path (default: nowhere)")
	flags.BoolVar(&c.MetricsAllowRemote, "metrics-allow-remote", c.MetricsAllowRemote, "let --metrics-address be one that other hosts reach")
	flags.StringSliceVar(&c.MetricsLabels, "metrics-labels", c.MetricsLabels, "labels of workloads in metrics: namespace, workload, pod, container, binary")
	flags.BoolVar(&c.MetricsCompatible, "metrics-compatible", c.MetricsCompatible, "offer metrics also under the names with tetragon_ that dashboards know")
	flags.BoolVar(&c.MetricsProgramStats, "metrics-program-stats", c.MetricsProgramStats, "make the kernel measure all BPF programs while the agent runs")
	flags.StringVar(&c.RedactionFilters, "redaction-filters", c.RedactionFilters, "what to hide in arguments and environments: JSON objects with redact and binary_regex")
	flags.StringVar(&c.ClusterName, "cluster-name", c.ClusterName, "name of the cluster in events")
	bindExport(flags, c)
}

// bindExport adds the flags of the one file of events that they can name.
func bindExport(flags *pflag.FlagSet, c *Config) {
	flags.StringVar(&c.ExportFilename, "export-filename", c.ExportFilename, "file to write events to, one JSON object a line; more of them: the key exports of the configuration file")
	flags.IntVar(&c.ExportFileMaxSizeMB, "export-file-max-size-mb", c.ExportFileMaxSizeMB, "size in MB at which the file is rotated")
	flags.DurationVar(&c.ExportFileRotationInterval, "export-file-rotation-interval", c.ExportFileRotationInterval, "age at which the file is rotated; 0: at none")
	flags.IntVar(&c.ExportFileMaxBackups, "export-file-max-backups", c.ExportFileMaxBackups, "old files to keep; 0: all")
	flags.BoolVar(&c.ExportFileCompress, "export-file-compress", c.ExportFileCompress, "pack old files with gzip")
	flags.StringVar(&c.ExportFilePerm, "export-file-perm", c.ExportFilePerm, "permissions of the files, octal")
	flags.IntVar(&c.ExportRateLimit, "export-rate-limit", c.ExportRateLimit, "most events written in a minute; -1: all, 0: none")
	flags.StringVar(&c.ExportAllowlist, "export-allowlist", c.ExportAllowlist, "filters of events to write, JSON objects (default: all events)")
	flags.StringVar(&c.ExportDenylist, "export-denylist", c.ExportDenylist, "filters of events not to write, JSON objects")
	flags.StringVar(&c.ExportFieldFilters, "export-field-filters", c.ExportFieldFilters, "filters of the fields to write, JSON objects")
	flags.BoolVar(&c.EnableExportAggregation, "enable-export-aggregation", c.EnableExportAggregation, "write events once that are equal but for their time, with their number")
	flags.DurationVar(&c.ExportAggregationWindowSize, "export-aggregation-window-size", c.ExportAggregationWindowSize, "how long equal events are counted together")
	flags.IntVar(&c.ExportAggregationBufferSize, "export-aggregation-buffer-size", c.ExportAggregationBufferSize, "different events that are counted at once")
	flags.StringVar(&c.HealthServerAddress, "health-server-address", c.HealthServerAddress, "unix socket or loopback HOST:PORT of grpc.health.v1 beside the API's socket (default: none)")
	flags.BoolVar(&c.EnableReflection, "enable-reflection", c.EnableReflection, "let clients ask for the services and methods of the API")
	flags.StringVar(&c.PprofAddress, "pprof-address", c.PprofAddress, "unix socket or loopback HOST:PORT of profiles of the agent (default: none)")
}

// Settings is the configuration by the names of its settings: each a bool, an int64, a
// time.Duration, a string or a []string. Of the exports there are the names.
func (c Config) Settings() map[string]any {
	flags := pflag.NewFlagSet("config", pflag.ContinueOnError)
	bind(flags, &c)
	all := map[string]any{}
	flags.VisitAll(func(f *pflag.Flag) {
		var err error
		switch kind := f.Value.Type(); kind {
		case "bool":
			all[f.Name], err = flags.GetBool(f.Name)
		case "int":
			var n int
			n, err = flags.GetInt(f.Name)
			all[f.Name] = int64(n)
		case "duration":
			all[f.Name], err = flags.GetDuration(f.Name)
		default:
			if list, ok := f.Value.(pflag.SliceValue); ok {
				all[f.Name] = list.GetSlice()
				return
			}
			all[f.Name] = f.Value.String()
		}
		if err != nil { // of another type than the flag says
			all[f.Name] = f.Value.String()
		}
	})
	names := make([]string, 0, len(c.Exports))
	for _, e := range c.Exports {
		names = append(names, e.Name)
	}
	all["exports"] = names
	return all
}

// Load puts the configuration together and validates it. The flags are those of
// Register, parsed; env is os.LookupEnv. A file that --config names must exist,
// the one at DefaultPath need not. A setting of the file replaces a default
// whole, as does a flag one of the file: lists are not joined.
func Load(flags *pflag.FlagSet, env func(string) (string, bool)) (Config, error) {
	c := Default()
	if err := c.loadFile(flags); err != nil {
		return Config{}, err
	}
	if name, ok := env(nodeNameEnv); ok && name != "" {
		c.NodeName = name
	}
	if err := c.applyFlags(flags); err != nil {
		return Config{}, err
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("invalid configuration: %w", err)
	}
	return c, nil
}

func (c *Config) loadFile(flags *pflag.FlagSet) error {
	path, err := flags.GetString(configFlag)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !flags.Changed(configFlag) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if len(text) > maxFileBytes {
		return fmt.Errorf("read configuration %s: more than %d bytes", path, maxFileBytes)
	}
	if err := c.decode(text); err != nil {
		return fmt.Errorf("read configuration %s: %w", path, err)
	}
	return nil
}

// decode takes the settings of a file; an empty one has none.
func (c *Config) decode(text []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return readable(err)
	}
	var second yaml.Node
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return errors.New("more than one YAML document")
	}
	return c.completeExports(text)
}

// readable has the YAML package's faults, all of them, without its Go words.
func readable(err error) error {
	var typed *yaml.TypeError
	if !errors.As(err, &typed) {
		return err
	}
	faults := make([]error, len(typed.Errors))
	for i, text := range typed.Errors {
		if before, _, ok := strings.Cut(text, " not found in type config."); ok {
			text = strings.Replace(before, ": field ", ": unknown key ", 1)
		}
		faults[i] = errors.New(text)
	}
	return errors.Join(faults...)
}

// applyFlags takes over the flags that were given.
func (c *Config) applyFlags(flags *pflag.FlagSet) error {
	own := pflag.NewFlagSet("config", pflag.ContinueOnError)
	bind(own, c)
	var faults []error
	flags.Visit(func(given *pflag.Flag) {
		target := own.Lookup(given.Name)
		if target == nil {
			return // a flag of the caller's own, or --config
		}
		if list, ok := given.Value.(pflag.SliceValue); ok {
			// A list does not survive its own String and Set.
			if to, ok := target.Value.(pflag.SliceValue); ok {
				faults = append(faults, to.Replace(list.GetSlice()))
				return
			}
		}
		faults = append(faults, target.Value.Set(given.Value.String()))
	})
	return errors.Join(faults...)
}
