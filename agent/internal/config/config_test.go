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
event-queue: 200
cgroup-rate: 1000,1s
expose-stack-addresses: true
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
		CgroupRate:           "1000,1s",
		ExposeStackAddresses: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
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
		if key := field.Tag.Get("yaml"); key == "" || flags.Lookup(key) == nil {
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
		"log-levels: info\nring: 1\n":               "line 1: unknown key log-levels\nline 2: unknown key ring",
		"max-containers: many\n":                    "line 1: cannot unmarshal",
		"log-level: info\nlog-level: debug\n":       `line 2: mapping key "log-level" already defined at line 1`,
		"log-level: info\n---\nlog-level: debug\n":  "more than one YAML document",
		"- log-level\n":                             "line 1: cannot unmarshal",
		"log-level: [\n":                            "yaml: line",
		"log-level: loud\n":                         `invalid configuration: log-level: "loud" is none of debug, info, warn, error`,
		"# " + strings.Repeat("x", maxFileBytes):    "more than 1048576 bytes",
		"removed-grace: soon\n":                     "line 1: cannot unmarshal",
		"runtime-names: &a [x, *a]\nspool-dir: a\n": "yaml: ",
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
		{"event-queue", func(c *Config) { c.EventQueue = -1 }},
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
	if err := all.Validate(); strings.Count(err.Error(), "\n") != 7 {
		t.Errorf("faults of the zero configuration: %v", err)
	}
}
