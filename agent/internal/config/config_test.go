// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func noEnv(string) (string, bool) { return "", false }

// load is Load with the file's text, unless that is empty, and args.
func load(t *testing.T, text string, env func(string) (string, bool), args ...string) (Config, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.Bool("verbose", false, "a flag of the caller's own")
	Register(flags)
	path := filepath.Join(t.TempDir(), "boltseald.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := flags.Parse(append([]string{"--config", path}, args...)); err != nil {
		t.Fatal(err)
	}
	return Load(flags, env)
}

func TestDefaultIsValid(t *testing.T) {
	t.Parallel()
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"", "# nothing\n", "---\n"} {
		c, err := load(t, text, noEnv)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if diff := cmp.Diff(Default(), c); diff != "" {
			t.Errorf("%q (-default +loaded):\n%s", text, diff)
		}
	}
}

const allSettings = `server-address: /run/other.sock
log-level: debug
log-format: json
policy-file: [/a.yaml, b.yaml]
policy-dir: /policies
cgroup-root: /cgroup
node-name: file
node-labels: [a=b, "c/d="]
runtime-names: [mine]
cgroup-prefixes: []
allow-get-url: true
allow-dns-lookup: true
max-containers: 5
ring-bytes: 65536
spool-dir: /spool
removed-grace: 1m30s
process-cache: 100
process-cred: true
process-ns: true
process-environment: true
environment-variables: [PATH, LD_PRELOAD]
event-queue: 200
cgroup-rate: 1000,1s
expose-stack-addresses: true
enable-ancestors: [base, lsm]
username-metadata: unix
metrics-address: unix:///metrics.sock
metrics-allow-remote: true
metrics-labels: [container]
metrics-compatible: false
metrics-program-stats: true
redaction-filters: |
  {"redact": ["-p (.*)"]}
  {"redact": ["(a)"]}
cluster-name: cluster
export-filename: /events.json
export-file-max-size-mb: 11
export-file-rotation-interval: 1h
export-file-max-backups: 0
export-file-compress: true
export-file-perm: 0640
export-rate-limit: 0
export-allowlist: '{"pid":[1]}'
export-denylist: '{"pid":[2]}'
export-field-filters: '{"fields":"process"}'
enable-export-aggregation: true
export-aggregation-window-size: 2s
export-aggregation-buffer-size: 3
exports: ` + allExports

// allExports are two exports, one of which leaves all out that it can.
const allExports = `
- file: /least.json
- name: other
  file: /other.json
  max-size-mb: 1
  rotation-interval: 24h
  max-backups: 0
  compress: true
  permissions: 0644
  rate-limit: 0
  allow-list: a
  deny-list: d
  field-filters: f
  aggregation: {window-size: 1m}
health-server-address: 127.0.0.1:6789
enable-reflection: true
pprof-address: unix:///run/pprof.sock
`

func TestFile(t *testing.T) {
	t.Parallel()
	got, err := load(t, allSettings, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		ServerAddress: "/run/other.sock", LogLevel: "debug", LogFormat: "json", PolicyFiles: []string{"/a.yaml", "b.yaml"},
		PolicyDir: "/policies", CgroupRoot: "/cgroup", NodeName: "file", NodeLabels: []string{"a=b", "c/d="}, RuntimeNames: []string{"mine"}, CgroupPrefixes: []string{},
		MaxContainers: 5, RingBytes: 65536, SpoolDir: "/spool", RemovedGrace: 90 * time.Second, ProcessCache: 100, EventQueue: 200,
		AllowGetURL: true, AllowDNSLookup: true,
		ProcessCred: true, ProcessNS: true, ProcessEnvironment: true, EnvironmentVariables: []string{"PATH", "LD_PRELOAD"},
		EnableAncestors: []string{"base", "lsm"}, UsernameMetadata: "unix",
		CgroupRate: "1000,1s", ExposeStackAddresses: true, ClusterName: "cluster",
		ExportFilename: "/events.json", ExportFileMaxSizeMB: 11, ExportFileRotationInterval: time.Hour, ExportFileCompress: true,
		ExportFilePerm: "0640", ExportAllowlist: `{"pid":[1]}`, ExportDenylist: `{"pid":[2]}`, ExportFieldFilters: `{"fields":"process"}`,
		EnableExportAggregation: true, ExportAggregationWindowSize: 2 * time.Second, ExportAggregationBufferSize: 3,
		Exports: []Export{
			{File: "/least.json", MaxSizeMB: 10, MaxBackups: 5, Permissions: "600", RateLimit: -1},
			{
				Name: "other", File: "/other.json", MaxSizeMB: 1, RotationInterval: 24 * time.Hour, Compress: true, Permissions: "0644",
				AllowList: "a", DenyList: "d", FieldFilters: "f", Aggregation: &ExportAggregation{time.Minute, 10_000},
			},
		},
		HealthServerAddress: "127.0.0.1:6789", EnableReflection: true, PprofAddress: "unix:///run/pprof.sock",
		RedactionFilters: "{\"redact\": [\"-p (.*)\"]}\n{\"redact\": [\"(a)\"]}\n",
		MetricsAddress:   "unix:///metrics.sock", MetricsAllowRemote: true, MetricsLabels: []string{"container"}, MetricsProgramStats: true,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Export{})); diff != "" {
		t.Error("configuration (-want +got):\n", diff)
	}
	if events, interval := got.ProcessRate(); events != 1000 || interval != time.Second {
		t.Errorf("rate %d in %v", events, interval)
	}
	if got.SocketPath() != "/run/other.sock" || Default().SocketPath() != "/run/boltseal/boltseal.sock" || got.Level() != slog.LevelDebug {
		t.Errorf("socket %s, level %v", got.SocketPath(), got.Level())
	}
}

// TestEveryFieldHasFlagAndKey holds the promise that file and flags share their
// names, also for a field that is yet to come.
func TestEveryFieldHasFlagAndKey(t *testing.T) {
	t.Parallel()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	Register(flags)
	for field := range reflect.TypeFor[Config]().Fields() {
		// The list of exports is the one that has none; each of its settings has.
		if key := field.Tag.Get("yaml"); key != "exports" && (key == "" || flags.Lookup(key) == nil) {
			t.Errorf("field %s has the key %q and no flag of that name", field.Name, key)
		}
		if !strings.Contains(allSettings, field.Tag.Get("yaml")+": ") {
			t.Errorf("field %s is not in the test of the file", field.Name)
		}
	}
}

func TestFlagsOverrideFile(t *testing.T) {
	t.Parallel()
	env := func(name string) (string, bool) { return "from-env", name == "NODE_NAME" }
	got, err := load(t, allSettings, env, "--verbose", "--log-level=error", "--policy-file=/c,d.yaml", "--policy-file=/e.yaml",
		"--runtime-names=a,b", "--removed-grace=5s", "--max-containers=7")
	if err != nil {
		t.Fatal(err)
	}
	if got.LogLevel != "error" || got.LogFormat != "json" || got.RemovedGrace != 5*time.Second || got.MaxContainers != 7 || got.NodeName != "from-env" {
		t.Errorf("configuration: %+v", got)
	}
	if diff := cmp.Diff([]string{"/c,d.yaml", "/e.yaml"}, got.PolicyFiles); diff != "" {
		t.Error("policy files (-want +got):\n", diff)
	}
	if diff := cmp.Diff([]string{"a", "b"}, got.RuntimeNames); diff != "" {
		t.Error("runtime names (-want +got):\n", diff)
	}
	got, err = load(t, allSettings, env, "--node-name=from-flag")
	if err != nil || got.NodeName != "from-flag" {
		t.Errorf("node name %q, %v", got.NodeName, err)
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"log-levels: info\nring: 1\n":                "line 1: unknown key log-levels\nline 2: unknown key ring",
		"max-containers: many\n":                     "line 1: cannot unmarshal",
		"exports:\n- file: /a\n  rate: 1\n":          "line 3: unknown key rate",
		"exports: [{file: /a, max-size-mb: big}]\n":  "line 1: cannot unmarshal",
		"exports: [{file: /a, aggregation: []}]\n":   "line 1: cannot unmarshal",
		"exports: [{file: /a, aggregation: {x: 1}}]": "line 1: unknown key x",
		"exports: {}\n":                              "line 1: cannot unmarshal",
		"exports: [1]\n":                             "line 1: cannot unmarshal",
		"log-level: info\nlog-level: debug\n":        `line 2: mapping key "log-level" already defined at line 1`,
		"log-level: info\n---\nlog-level: debug\n":   "more than one YAML document",
		"- log-level\n":                              "line 1: cannot unmarshal",
		"log-level: [\n":                             "yaml: line",
		"log-level: loud\n":                          `invalid configuration: log-level: "loud" is none of debug, info, warn, error`,
		"# " + strings.Repeat("x", maxFileBytes):     "more than 1048576 bytes",
		"removed-grace: soon\n":                      "line 1: cannot unmarshal",
		"runtime-names: &a [x, *a]\nspool-dir: a\n":  "yaml: ",
	} {
		c, err := load(t, text, noEnv)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want ...%q", text, err, want)
		}
		if !reflect.DeepEqual(c, Config{}) {
			t.Errorf("%.40q: half a configuration: %+v", text, c)
		}
	}
}

func TestMetricsAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		address string
		remote  bool
		socket  string
	}{
		{"", false, ""},
		{"unix:///run/m.sock", false, "/run/m.sock"},
		{"/run/m.sock", false, "/run/m.sock"},
		{"localhost:2112", false, ""},
		{"127.0.0.1:2112", false, ""},
		{"[::1]:2112", false, ""},
		{"[::ffff:127.0.0.1]:2112", false, ""},
		{":2112", true, ""},
		{"192.0.2.1:2112", true, ""},
	} {
		config := Default()
		config.MetricsAddress, config.MetricsAllowRemote = c.address, c.remote
		if err := config.Validate(); err != nil || config.MetricsSocket() != c.socket {
			t.Errorf("%q: %v, socket %q", c.address, err, config.MetricsSocket())
		}
	}
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	Register(flags)
	missing := filepath.Join(t.TempDir(), "none.yaml")
	flags.Lookup("config").DefValue = missing
	if err := flags.Lookup("config").Value.Set(missing); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(flags, noEnv); err != nil {
		t.Errorf("a missing file that nobody named: %v", err)
	}
	if err := flags.Parse([]string{"--config", missing}); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(flags, noEnv); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file that was named: %v", err)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		field  string
		change func(*Config)
	}{
		{"server-address", func(c *Config) { c.ServerAddress = "localhost:54321" }},
		{"server-address", func(c *Config) { c.ServerAddress = "" }},
		{"server-address", func(c *Config) { c.ServerAddress = "unix://relative.sock" }},
		{"server-address", func(c *Config) { c.ServerAddress = "unix:///run/" }},
		{"server-address", func(c *Config) { c.ServerAddress = "/" + strings.Repeat("s", 107) }},
		{"log-level", func(c *Config) { c.LogLevel = "" }},
		{"log-format", func(c *Config) { c.LogFormat = "xml" }},
		{"policy-file", func(c *Config) { c.PolicyFiles = []string{"a", ""} }},
		{"policy-dir", func(c *Config) { c.PolicyDir = "policies" }},
		{"cgroup-root", func(c *Config) { c.CgroupRoot = "cgroup" }},
		{"node-name", func(c *Config) { c.NodeName = "a b" }},
		{"node-name", func(c *Config) { c.NodeName = strings.Repeat("n", 254) }},
		{"node-labels", func(c *Config) { c.NodeLabels = []string{"a"} }},
		{"node-labels", func(c *Config) { c.NodeLabels = []string{"=a"} }},
		{"node-labels", func(c *Config) { c.NodeLabels = []string{"a=1", "b=1", "a=2"} }},
		{"runtime-names", func(c *Config) { c.RuntimeNames = make([]string, 17) }},
		{"runtime-names", func(c *Config) { c.RuntimeNames = []string{""} }},
		{"runtime-names", func(c *Config) { c.RuntimeNames = []string{strings.Repeat("r", 16)} }},
		{"runtime-names", func(c *Config) { c.RuntimeNames = []string{"runc", "runc"} }},
		{"cgroup-prefixes", func(c *Config) { c.CgroupPrefixes = []string{"a/b-"} }},
		{"max-containers", func(c *Config) { c.MaxContainers = 0 }},
		{"max-containers", func(c *Config) { c.MaxContainers = 16_383 }},
		{"ring-bytes", func(c *Config) { c.RingBytes = 100_000 }},
		{"ring-bytes", func(c *Config) { c.RingBytes = 4096 }},
		{"ring-bytes", func(c *Config) { c.RingBytes = 2 << 30 }},
		{"spool-dir", func(c *Config) { c.SpoolDir = "" }},
		{"removed-grace", func(c *Config) { c.RemovedGrace = -1 }},
		{"removed-grace", func(c *Config) { c.RemovedGrace = 2 * time.Hour }},
		{"process-cache", func(c *Config) { c.ProcessCache = 0 }},
		{"enable-ancestors", func(c *Config) { c.EnableAncestors = []string{"base", "exec"} }},
		{"enable-ancestors", func(c *Config) { c.EnableAncestors = []string{"lsm", "base", "lsm"} }},
		{"enable-ancestors", func(c *Config) { c.EnableAncestors = []string{""} }},
		{"username-metadata", func(c *Config) { c.UsernameMetadata = "" }},
		{"username-metadata", func(c *Config) { c.UsernameMetadata = "ldap" }},
		{"environment-variables", func(c *Config) { c.EnvironmentVariables = []string{"PATH"} }},
		{"environment-variables", func(c *Config) { c.ProcessEnvironment, c.EnvironmentVariables = true, []string{"A=1"} }},
		{"environment-variables", func(c *Config) { c.ProcessEnvironment, c.EnvironmentVariables = true, []string{""} }},
		{"environment-variables", func(c *Config) { c.ProcessEnvironment, c.EnvironmentVariables = true, []string{"A", "A"} }},
		{"event-queue", func(c *Config) { c.EventQueue = -1 }},
		{"cluster-name", func(c *Config) { c.ClusterName = "a\n" }},
		{"export-filename", func(c *Config) { c.ExportFilename = "events.json" }},
		{"export-file-max-size-mb", func(c *Config) { c.ExportFileMaxSizeMB = 0 }},
		{"export-file-rotation-interval", func(c *Config) { c.ExportFileRotationInterval = time.Millisecond }},
		{"export-file-max-backups", func(c *Config) { c.ExportFileMaxBackups = -1 }},
		{"export-file-perm", func(c *Config) { c.ExportFilePerm = "rw" }},
		{"export-file-perm", func(c *Config) { c.ExportFilePerm = "1777" }},
		{"export-rate-limit", func(c *Config) { c.ExportRateLimit = -2 }},
		{"export-aggregation-window-size", func(c *Config) { c.ExportAggregationWindowSize = 0 }},
		{"export-aggregation-buffer-size", func(c *Config) { c.ExportAggregationBufferSize = 1<<20 + 1 }},
		{"exports[0].file", func(c *Config) { c.Exports = []Export{export(func(e *Export) { e.File = "" })} }},
		{"exports[0].name", func(c *Config) { c.Exports = []Export{export(func(e *Export) { e.Name = "a b" })} }},
		{"exports[0].max-size-mb", func(c *Config) { c.Exports = []Export{export(func(e *Export) { e.MaxSizeMB = -1 })} }},
		{"exports[0].aggregation.window-size", func(c *Config) {
			c.Exports = []Export{export(func(e *Export) { e.Aggregation = &ExportAggregation{BufferSize: 1} })}
		}},
		{"exports[1].permissions", func(c *Config) {
			c.Exports = []Export{export(func(*Export) {}), export(func(e *Export) { e.File, e.Permissions = "/b", "8" })}
		}},
		{"exports[1].file", func(c *Config) {
			c.Exports = []Export{export(func(*Export) {}), export(func(e *Export) { e.Name, e.File = "b", "//a" })}
		}},
		{"exports[1].name", func(c *Config) {
			c.ExportFilename = "/c"
			c.Exports = []Export{export(func(*Export) {}), export(func(e *Export) { e.Name, e.File = "export", "/b" })}
		}},
		{"health-server-address", func(c *Config) { c.HealthServerAddress = "0.0.0.0:6789" }},
		{"health-server-address", func(c *Config) { c.HealthServerAddress = ":6789" }},
		{"health-server-address", func(c *Config) { c.HealthServerAddress = "example.org:6789" }},
		{"health-server-address", func(c *Config) { c.HealthServerAddress = "127.0.0.1" }},
		{"health-server-address", func(c *Config) { c.HealthServerAddress = "127.0.0.1:http" }},
		{"pprof-address", func(c *Config) { c.PprofAddress = "[::]:6060" }},
		{"pprof-address", func(c *Config) { c.PprofAddress = "127.0.0.1:0" }},
		{"pprof-address", func(c *Config) { c.PprofAddress = "127.0.0.1:65536" }},
		{"pprof-address", func(c *Config) { c.PprofAddress = "unix://pprof.sock" }},
		{"pprof-address", func(c *Config) { c.PprofAddress = "/pprof/" }},
		{"metrics-address", func(c *Config) { c.MetricsAddress = "localhost" }},
		{"metrics-address", func(c *Config) { c.MetricsAddress = "127.0.0.1:0" }},
		{"metrics-address", func(c *Config) { c.MetricsAddress = "127.0.0.1:65536" }},
		{"metrics-address", func(c *Config) { c.MetricsAddress = "unix://metrics.sock" }},
		{"metrics-address", func(c *Config) { c.MetricsAddress = "/metrics/" }},
		{"metrics-address", func(c *Config) { c.MetricsAddress = ":2112" }},
		{"metrics-address", func(c *Config) { c.MetricsAddress = "0.0.0.0:2112" }},
		{"metrics-address", func(c *Config) { c.MetricsAddress = "[::]:2112" }},
		{"metrics-address", func(c *Config) { c.MetricsAddress = "192.0.2.1:2112" }},
		{"metrics-address", func(c *Config) { c.MetricsAddress, c.MetricsAllowRemote = "example.com:2112", true }},
		{"metrics-labels", func(c *Config) { c.MetricsLabels = []string{"image"} }},
		{"metrics-labels", func(c *Config) { c.MetricsLabels = []string{"pod", "pod"} }},
		{"cgroup-rate", func(c *Config) { c.CgroupRate = "10" }},
		{"cgroup-rate", func(c *Config) { c.CgroupRate = "ten,1s" }},
		{"cgroup-rate", func(c *Config) { c.CgroupRate = "10,1" }},
		{"cgroup-rate", func(c *Config) { c.CgroupRate = "0,1s" }},
		{"cgroup-rate", func(c *Config) { c.CgroupRate = "10,1us" }},
		{"cgroup-rate", func(c *Config) { c.CgroupRate = "10,1s,2s" }},
	} {
		config := Default()
		c.change(&config)
		var fault *FieldError
		if err := config.Validate(); !errors.As(err, &fault) || fault.Field != c.field || strings.Contains(err.Error(), "\n") {
			t.Errorf("want a fault of %s, got %v", c.field, err)
		}
	}
	var all Config
	if err := all.Validate(); strings.Count(err.Error(), "\n") != 12 {
		t.Errorf("faults of the zero configuration: %v", err)
	}
}

// export is a valid export but for a change.
func export(change func(*Export)) Export {
	e := defaultExport()
	e.File = "/a"
	change(&e)
	return e
}

func TestAllExports(t *testing.T) {
	t.Parallel()
	c, err := load(t, allSettings, noEnv, "--export-rate-limit=7")
	if err != nil {
		t.Fatal(err)
	}
	all := c.AllExports()
	if len(all) != 3 || all[0].Name != "export" || all[1].Name != "/least.json" || all[2].Name != "other" {
		t.Fatalf("%+v", all)
	}
	want := Export{
		Name: "export", File: "/events.json", MaxSizeMB: 11, RotationInterval: time.Hour, Compress: true, Permissions: "0640", RateLimit: 7,
		AllowList: `{"pid":[1]}`, DenyList: `{"pid":[2]}`, FieldFilters: `{"fields":"process"}`, Aggregation: &ExportAggregation{2 * time.Second, 3},
	}
	if diff := cmp.Diff(want, all[0], cmp.AllowUnexported(Export{})); diff != "" {
		t.Error("the export of the flags (-want +got):\n", diff)
	}
	if all[1].Aggregation != nil || len(Default().AllExports()) != 0 {
		t.Errorf("%+v; by default %v", all[1], Default().AllExports())
	}
	if perm, err := all[0].Perm(); err != nil || perm != 0o640 {
		t.Errorf("permissions %v, %v", perm, err)
	}
	// Every setting has a key in both forms.
	for field := range reflect.TypeFor[Export]().Fields() {
		setting := field.Tag.Get("yaml")
		if setting == "" {
			continue
		}
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		Register(flags)
		if flags.Lookup(all[0].Key(setting)) == nil || all[2].Key(setting) != "exports[1]."+setting {
			t.Errorf("keys of %s: %s, %s", setting, all[0].Key(setting), all[2].Key(setting))
		}
	}
}

func TestLocalAddresses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "localhost:1", "127.0.0.1:65535", "127.9.9.9:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "unix:///run/x.sock", "/run/x.sock"} {
		c := Default()
		c.HealthServerAddress, c.PprofAddress = address, address
		if err := c.Validate(); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// TestSettings: every field is there, by its key and with its value.
func TestSettings(t *testing.T) {
	t.Parallel()
	c, err := load(t, allSettings, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	all := c.Settings()
	for field, value := range reflect.ValueOf(c).Fields() {
		want := value.Interface()
		switch v := want.(type) {
		case int:
			want = int64(v)
		case []string:
			want = append([]string{}, v...)
		case []Export:
			want = []string{v[0].Name, v[1].Name}
		}
		if got := all[field.Tag.Get("yaml")]; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, want %#v", field.Name, got, want)
		}
	}
	if len(all) != reflect.TypeFor[Config]().NumField() {
		t.Errorf("%d settings of %d fields", len(all), reflect.TypeFor[Config]().NumField())
	}
}
