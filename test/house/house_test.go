// SPDX-License-Identifier: Apache-2.0

package house

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/boltseal/boltseal"

// layer says how high a package stands: it may import packages of lower layers
// only, so that siblings meet above, through interfaces that they declare. The
// keys are paths below the module; a package below a key belongs to it unless it
// has a key of its own.
func layers() map[string]int {
	return map[string]int{
		"api": 0, "bpf": 0, "agent/internal/policy/expression": 0,

		"agent/internal/bpfarray":  1,
		"agent/internal/cgroup":    1,
		"agent/internal/config":    1,
		"agent/internal/container": 1,
		"agent/internal/kernel":    1,
		"agent/internal/policy":    1,

		"agent/internal/event":          2,
		"agent/internal/match":          2,
		"agent/internal/policy/compile": 2,
		"agent/internal/process":        2,
		"agent/internal/throttle":       2,

		"agent/internal/account":   3,
		"agent/internal/attach":    3,
		"agent/internal/engine":    3,
		"agent/internal/enrich":    3,
		"agent/internal/export":    3,
		"agent/internal/filter":    3,
		"agent/internal/metrics":   3,
		"agent/internal/names":     3,
		"agent/internal/policydir": 3,
		"agent/internal/reader":    3,
		"agent/internal/remote":    3,
		"agent/internal/seal":      3,
		"agent/internal/stack":     3,
		"agent/internal/stacktree": 3,
		"agent/internal/store":     3,

		// What decides, over the siblings that do; then the edge, which
		// translates the values and errors of all below, and calls by interface.
		"agent/internal/control": 4,
		"agent/internal/server":  5,
		"agent/internal/daemon":  6,
		"agent/cmd":              7,

		// What the hook goes by, for the command that tells of it; the agent itself
		// has no use for it.
		"hook/agentclient": 6,
		"hook/settings":    6,
	}
}

// pure lists the packages that take values and return values.
func pure() []string {
	return []string{
		"agent/internal/policy", "agent/internal/policy/compile", "agent/internal/policy/expression", "agent/internal/match", "agent/internal/event",
		"agent/internal/throttle", "agent/internal/filter", "agent/internal/filter/subject", "agent/internal/filter/condition", "agent/internal/filter/field",
		"agent/internal/filter/redact", "hook/bundle",
	}
}

// touching lists the packages that alone touch the kernel and files.
func touching() []string {
	return []string{
		"agent/internal/kernel", "agent/internal/cgroup", "agent/internal/seal", "agent/internal/engine",
		"agent/internal/attach", "agent/internal/reader", "agent/internal/stack", "agent/internal/store",
		"agent/internal/policydir", "agent/internal/remote", "agent/internal/export/jsonfile", "agent/internal/account",
		"agent/internal/names",
	}
}

// outside lists the imports by which a package would touch the machine itself.
func outside() []string {
	return []string{
		"os", "os/exec", "net", "net/http", "syscall", "golang.org/x/sys/unix",
		"github.com/cilium/ebpf", "github.com/cilium/ebpf/link", "github.com/cilium/ebpf/ringbuf",
	}
}

// listed is what go list says of a package. Deps is everything that ends up in
// a program with it; Imports is what its own files name. Neither has tests' imports.
type listed struct {
	ImportPath, Dir string
	Imports, Deps   []string
}

// path is the package's path below the module.
func (p listed) path() string { return below(p.ImportPath) }

func below(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

// packages lists the packages of the module.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Imports,Deps", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = errors.New(string(exit.Stderr))
		}
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list knows %d packages only", len(all))
	}
	return all
}

// in reports whether path is dir or below it.
func in(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// layerOf finds the layer of a package by its longest key.
func layerOf(path string) (key string, layer int, found bool) {
	for k, l := range layers() {
		if in(path, k) && len(k) >= len(key) {
			key, layer, found = k, l, true
		}
	}
	return key, layer, found
}

// faults returns every import of p that the house does not allow.
func faults(p listed) []string {
	path := p.path()
	switch {
	case in(path, "test"):
		return nil // tests look at everything; nobody looks at them: see below
	case in(path, "hook"):
		return hookFaults(p, "hook", "api")
	case in(path, "nri-plugin"):
		return pluginFaults(p)
	case in(path, "policies"):
		return hookFaults(p, "policies")
	}
	return append(layerFaults(p), pureFaults(p)...)
}

// pluginFaults allows what the hook is made of. The protocol of NRI is ttrpc,
// whose errors are those of gRPC: its small packages, and neither its client nor
// its server, which are what the rule is about.
func pluginFaults(p listed) []string {
	const library = "google.golang.org/grpc"
	found := hookFaults(p, "nri-plugin", "api", "hook/agentclient", "hook/bundle", "hook/readfile", "hook/settings")
	return slices.DeleteFunc(found, func(fault string) bool { return strings.Contains(fault, ": "+library+"/") })
}

// hookFaults allows, of the project, the named parts only, and no gRPC library.
func hookFaults(p listed, allowed ...string) []string {
	var found []string
	for _, d := range p.Deps {
		if strings.HasPrefix(d, "google.golang.org/grpc") {
			found = append(found, "has the gRPC library in it: "+d)
		}
		if ours(d) && !slices.ContainsFunc(allowed, func(a string) bool { return in(below(d), a) }) {
			found = append(found, "has "+below(d)+" in it; allowed are "+strings.Join(allowed, ", "))
		}
	}
	return append(found, pureFaults(p)...)
}

func layerFaults(p listed) []string {
	own, layer, known := layerOf(p.path())
	if !known {
		return []string{"has no place in the house: give it one in layers()"}
	}
	var found []string
	for _, d := range p.Imports {
		if !ours(d) {
			continue
		}
		switch key, other, known := layerOf(below(d)); {
		case !known:
			found = append(found, "imports "+below(d)+", which is not below it")
		case key == own:
		case other >= layer:
			found = append(found, "imports "+below(d)+", which is beside or above it")
		}
	}
	return found
}

func pureFaults(p listed) []string {
	if !slices.Contains(pure(), p.path()) {
		return nil
	}
	var found []string
	for _, i := range p.Imports {
		if slices.Contains(outside(), i) {
			found = append(found, "is pure, but imports "+i)
		}
	}
	for _, d := range p.Deps {
		if ours(d) && slices.Contains(touching(), below(d)) {
			found = append(found, "is pure, but has "+below(d)+" in it")
		}
	}
	return found
}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		for _, f := range faults(p) {
			t.Errorf("%s %s", p.path(), f)
		}
	}
}

// TestRulesSeeFaults breaks each rule once: a rule that nothing can break holds nothing.
func TestRulesSeeFaults(t *testing.T) {
	t.Parallel()
	at := func(paths ...string) (full []string) {
		for _, p := range paths {
			full = append(full, module+"/"+p)
		}
		return full
	}
	for _, test := range []struct {
		name string
		p    listed
		want string
	}{
		{"sibling", listed{ImportPath: module + "/agent/internal/engine", Imports: at("agent/internal/seal")}, "beside or above"},
		{"upwards", listed{ImportPath: module + "/agent/internal/policy", Imports: at("agent/internal/policy/compile")}, "beside or above"},
		{"new package", listed{ImportPath: module + "/agent/internal/misc"}, "no place"},
		{"product imports tests", listed{ImportPath: module + "/bpf", Imports: at("test/testenv")}, "not below"},
		{"hook with agent", listed{ImportPath: module + "/hook", Deps: at("agent/internal/config")}, "allowed are"},
		{"hook with grpc", listed{ImportPath: module + "/hook", Deps: []string{"google.golang.org/grpc/codes"}}, "gRPC library"},
		{"plugin with the hook's main", listed{ImportPath: module + "/nri-plugin", Deps: at("hook/agentclient", "hook")}, "allowed are"},
		{"pure with files", listed{ImportPath: module + "/agent/internal/match", Imports: []string{"os"}}, "is pure"},
		{"pure with kernel below", listed{ImportPath: module + "/agent/internal/match", Deps: at("agent/internal/kernel")}, "is pure"},
		{"pure hook part", listed{ImportPath: module + "/hook/bundle", Imports: []string{"net"}}, "is pure"},
	} {
		if got := strings.Join(faults(test.p), "; "); !strings.Contains(got, test.want) {
			t.Errorf("%s: faults %q, want %q", test.name, got, test.want)
		}
	}
	fine := listed{ImportPath: module + "/agent/internal/engine", Imports: append(at("bpf", "agent/internal/kernel", "agent/internal/policy/compile"), "os")}
	if got := faults(fine); got != nil {
		t.Errorf("faults where there are none: %q", got)
	}
}

func TestPackagesAreNamedForWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		switch filepath.Base(p.ImportPath) {
		case "util", "utils", "common", "helper", "helpers", "misc", "base", "shared", "types", "manager":
			t.Errorf("%s: the name says nothing: code lives with what it is about", p.path())
		}
	}
}
