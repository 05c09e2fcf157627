// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/install/tomledit"
)

// containerd tells its NRI plugins of containers of its CRI, 1.7 when it is told
// to. Low-level runtimes and specs are changed only when that is asked for, or where
// there is no NRI: before 1.7.
type containerd struct{}

const (
	containerdConfig   = "/etc/containerd/config.toml"
	containerdBaseSpec = "/etc/containerd/boltseal-base.json"
	// containerdDropIn is our file's name in a directory that config.toml imports.
	containerdDropIn = "10-boltseal.toml"

	nriTable = "io.containerd.nri.v1.nri"
	// runcShim is the only shim that has low-level runtimes which take hooks.
	runcShim = "io.containerd.runc.v2"
)

func (containerd) name() string { return "containerd" }

func (containerd) find(h *host) (string, bool) {
	program := h.look("containerd")
	return program, program != "" || h.exists("/run/containerd/containerd.sock")
}

// errNoCRI: containerd serves another engine on this host.
var errNoCRI = errors.New("its CRI plugin is disabled: it serves an engine that is registered by itself")

func (e containerd) draft(ctx context.Context, h *host, d *draft, s Settings) (string, error) {
	c, err := e.load(ctx, h, d, s)
	if err != nil {
		return "", err
	}
	if c.disabled() {
		return "", errNoCRI
	}
	v := h.versionOf(ctx, h.look("containerd"))
	how := "no NRI before 1.7"
	if v.major == 1 && v.minor < 7 {
		s.Wrapper = s.Wrapper || !s.BaseSpec
	} else if how, err = e.nri(h, d, c, v); err != nil {
		return "", err
	}
	if s.Wrapper || s.BaseSpec {
		names, err := c.runtimes(d)
		if err != nil {
			return "", err
		}
		for _, name := range names {
			if err := e.low(ctx, h, d, c, name, s); err != nil {
				return "", fmt.Errorf("runtime %s: %w", name, err)
			}
		}
		how += fmt.Sprintf(", runtimes %s", strings.Join(names, ", "))
	}
	return how, nil
}

// nri registers the plugin.
func (e containerd) nri(h *host, d *draft, c *containerdFiles, v version) (string, error) {
	dir := pluginDir
	if set, ok := c.get(nriTable, "plugin_path").(string); ok && set != "" {
		dir = set
	}
	if err := h.plugin(d, e.name(), dir); err != nil {
		return "", err
	}
	// On by default from 2.0 on. An older one, or one whose version is not known, is
	// told.
	if v.major < 2 || c.get(nriTable, "disable") == true {
		if err := c.set(d, false, nriTable, "disable"); err != nil {
			return "", err
		}
	}
	return "NRI plugin in " + dir, nil
}

// low registers one low-level runtime.
func (e containerd) low(ctx context.Context, h *host, d *draft, c *containerdFiles, name string, s Settings) error {
	keys := []string{"containerd", "runtimes", name}
	if c.get(c.cri(), append(keys, "runtime_type")...) == nil {
		// A table for the runtime replaces the default one whole.
		if err := c.set(d, runcShim, c.cri(), append(keys, "runtime_type")...); err != nil {
			return err
		}
	}
	if s.Wrapper {
		real := "runc"
		option := append(slices.Clone(keys), "options", "BinaryName")
		if set, ok := c.get(c.cri(), option...).(string); ok && set != "" {
			real = set
			if path.Dir(set) == h.binDir { // a wrapper of ours
				real = strings.TrimPrefix(path.Base(set), "boltseal-")
			}
		}
		wrapper, err := h.wrapper(d, e.name(), real)
		if err != nil {
			return err
		}
		if err := c.set(d, wrapper, c.cri(), option...); err != nil {
			return err
		}
	}
	if !s.BaseSpec {
		return nil
	}
	option := append(slices.Clone(keys), "base_runtime_spec")
	from, _ := c.get(c.cri(), option...).(string)
	file, err := e.baseSpec(ctx, h, d, name, from)
	if err != nil {
		return err
	}
	return c.set(d, file, c.cri(), option...)
}

// check has containerd read its files, where it is there to be asked.
func (e containerd) check(ctx context.Context, h *host, s Settings) error {
	program, _ := e.find(h)
	if h.run == nil || program == "" {
		return nil
	}
	file := containerdConfig
	if s.Config != "" {
		file = s.Config
	}
	if !h.exists(file) {
		return nil
	}
	if _, err := h.run(ctx, program, "--config", file, "config", "dump"); err != nil {
		return fmt.Errorf("%s: containerd refuses it: %w", file, err)
	}
	return nil
}

func (containerd) reload(context.Context, *host) string {
	return "restart containerd: systemctl restart containerd; containers that are there go on"
}

// containerdFiles is config.toml and what it imports, in the order in which
// containerd reads them.
type containerdFiles struct {
	main    string
	version int64
	files   []containerdFile
	// imports is the patterns of config.toml.
	imports []string
	// merges tells containerd 2, which joins what files say of a plugin; 1.7 forgets
	// what earlier ones say.
	merges bool
}

type containerdFile struct {
	path string
	tree map[string]any
}

// load reads the files. Relative imports are relative to the file that has them.
func (containerd) load(ctx context.Context, h *host, d *draft, s Settings) (*containerdFiles, error) {
	c := &containerdFiles{main: containerdConfig, version: 2}
	if s.Config != "" {
		c.main = s.Config
	}
	pending, seen := []string{c.main}, map[string]bool{}
	for len(pending) > 0 {
		name := pending[0]
		pending = pending[1:]
		text, err := d.text(name)
		if err != nil {
			return nil, err
		}
		if seen[name] || text == nil {
			continue
		}
		seen[name] = true
		tree, err := tomledit.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		c.files = append(c.files, containerdFile{name, tree})
		patterns := importsOf(name, tree)
		if name == c.main {
			c.imports = patterns
		}
		for _, pattern := range patterns {
			more, err := h.disk.glob(pattern)
			if err != nil {
				return nil, err
			}
			pending = append(pending, more...)
		}
	}
	return c, c.readVersion(h.versionOf(ctx, h.look("containerd")).major >= 2)
}

// readVersion takes the version from config.toml, or what fits the program.
func (c *containerdFiles) readVersion(second bool) error {
	if len(c.files) == 0 || c.files[0].path != c.main || len(c.files[0].tree) == 0 {
		if second {
			c.version = 3
		}
		c.merges = second
		return nil
	}
	set, _ := c.files[0].tree["version"].(int64)
	if set != 2 && set != 3 && !c.disabled() {
		return fmt.Errorf("%s: version %d: must be 2 or 3: containerd config migrate writes it anew", c.main, set)
	}
	c.version, c.merges = set, second || set >= 3
	return nil
}

func importsOf(file string, tree map[string]any) []string {
	list, _ := tree["imports"].([]any)
	var patterns []string
	for _, item := range list {
		pattern, ok := item.(string)
		if !ok {
			continue
		}
		if !path.IsAbs(pattern) {
			pattern = path.Join(path.Dir(file), pattern)
		}
		patterns = append(patterns, path.Clean(pattern))
	}
	return patterns
}

// cri is the table of the CRI's runtimes.
func (c *containerdFiles) cri() string {
	if c.version >= 3 {
		return "io.containerd.cri.v1.runtime"
	}
	return "io.containerd.grpc.v1.cri"
}

func (c *containerdFiles) disabled() bool {
	for _, f := range c.files {
		list, _ := f.tree["disabled_plugins"].([]any)
		for _, name := range []string{"cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"} {
			if slices.Contains(list, any(name)) {
				return true
			}
		}
	}
	return false
}

// home is the file that a plugin's keys belong in: the last one that has its
// table, since 1.7 replaces a plugin's table by that of a later file whole.
func (c *containerdFiles) home(table string) (string, bool) {
	for _, f := range slices.Backward(c.files) {
		if _, found := tomledit.Get(f.tree, "plugins", table); found {
			return f.path, true
		}
	}
	return "", false
}

// get returns what a plugin's key is when all files have been read.
func (c *containerdFiles) get(table string, keys ...string) any {
	all := map[string]any{}
	for _, f := range c.files {
		value, found := tomledit.Get(f.tree, "plugins", table)
		if !found {
			continue
		}
		if !c.merges {
			all = map[string]any{}
		}
		if one, ok := value.(map[string]any); ok {
			join(all, one)
		}
	}
	value, _ := tomledit.Get(all, keys...)
	return value
}

// join adds a table to another one, over what that has.
func join(into, from map[string]any) {
	for key, value := range from {
		table, isTable := value.(map[string]any)
		if !isTable {
			into[key] = value
			continue
		}
		inner, ok := into[key].(map[string]any)
		if !ok {
			inner = map[string]any{}
			into[key] = inner
		}
		join(inner, table)
	}
}

// set drafts a plugin's key: in its home, else in a drop-in of ours where one is
// imported, else in config.toml.
func (c *containerdFiles) set(d *draft, value any, table string, keys ...string) error {
	home, found := c.home(table)
	if !found {
		home = c.dropIn()
	}
	runtime := containerd{}.name()
	all := append([]string{"plugins", table}, keys...)
	if err := c.versioned(d, runtime, home); err != nil {
		return err
	}
	if err := d.set(runtime, home, formatTOML, value, all...); err != nil {
		return err
	}
	return c.again(d, home)
}

// versioned gives a file that has nothing in it a version, without which
// containerd takes it for an old one. Files of one containerd must have the same:
// names of plugins go by the last one that is read.
func (c *containerdFiles) versioned(d *draft, runtime, file string) error {
	text, err := d.text(file)
	if err != nil {
		return err
	}
	if tree, err := tomledit.Parse(text); err != nil || len(tree) > 0 {
		return err
	}
	return d.set(runtime, file, formatTOML, c.version, "version")
}

// again reads a drafted file, so that what is asked next sees it.
func (c *containerdFiles) again(d *draft, file string) error {
	text, err := d.text(file)
	if err != nil {
		return err
	}
	tree, err := tomledit.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for i := range c.files {
		if c.files[i].path == file {
			c.files[i].tree = tree
			return nil
		}
	}
	c.files = append(c.files, containerdFile{file, tree})
	return nil
}

// dropIn is our file in a directory whose TOML files are imported, or config.toml.
func (c *containerdFiles) dropIn() string {
	for _, pattern := range c.imports {
		dir, base := path.Split(pattern)
		if match, err := path.Match(base, containerdDropIn); err == nil && match && !strings.ContainsAny(dir, "*?[") {
			return path.Join(dir, containerdDropIn)
		}
	}
	return c.main
}

// runtimes lists the low-level runtimes that take hooks. Others are told of.
func (c *containerdFiles) runtimes(d *draft) ([]string, error) {
	value := c.get(c.cri(), "containerd", "runtimes")
	if value == nil {
		return []string{"runc"}, nil
	}
	table, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("plugins.%q.containerd.runtimes: must be a table", c.cri())
	}
	var names []string
	for name, one := range table {
		settings, _ := one.(map[string]any)
		if shim, set := settings["runtime_type"].(string); set && shim != runcShim && shim != "" {
			d.note("containerd: runtime %s is left as it is: its shim %s has no low-level runtime to wrap", name, shim)
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}
