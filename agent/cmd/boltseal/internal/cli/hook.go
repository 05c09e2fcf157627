// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/install"
	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/quote"
)

// imageBinDir is where make install puts programs.
const imageBinDir = "/usr/local/bin"

// hookFlags is what the commands of hook have in common.
type hookFlags struct {
	runtimes []string
	root     string
	binDir   string
	configs  map[string]string
}

func (a *app) hookCommand() *cobra.Command {
	return group("hook", "Registers boltseal with the container runtimes of a host",
		a.hookInstallCommand(), a.hookStatusCommand(), a.hookUninstallCommand())
}

func (f *hookFlags) add(c *cobra.Command) {
	names := strings.Join(install.Runtimes(), ", ")
	c.Flags().StringSliceVar(&f.runtimes, "runtime", nil, "only these, found or not: "+names+" (default all that are found)")
	c.Flags().StringVar(&f.root, "root", "/", "root directory of the host; programs of another one than / are neither asked nor reloaded")
	c.Flags().StringVar(&f.binDir, "bin-dir", "", "directory of boltseal's programs below the root (default: where this program is, "+
		imageBinDir+" with --root)")
	c.Flags().StringToStringVar(&f.configs, "config", nil, "RUNTIME=FILE: a configuration that is not at its usual place")
}

func (f *hookFlags) options() (install.Options, error) {
	o := install.Options{Root: f.root, Runtimes: f.runtimes, BinDir: f.binDir, Configs: f.configs}
	for name := range f.configs {
		if !slices.Contains(install.Runtimes(), name) {
			return o, failed("--config %s: must be one of %s", name, strings.Join(install.Runtimes(), ", "))
		}
	}
	if o.BinDir == "" && f.root != "/" {
		o.BinDir = imageBinDir
	}
	if o.BinDir == "" {
		dir, err := binariesIn("")
		if err != nil {
			return o, err
		}
		o.BinDir = dir
	}
	return o, nil
}

const hookInstallHelp = `Registers boltseal with each container runtime that is found: Docker (a wrapped
runtime, made the default one), containerd and CRI-O (an NRI plugin), Podman and
CRI-O (a hooks directory). It shows what it changes in which file, has the runtime
check it, reloads what can be reloaded and says what has to be restarted. A second
time it changes nothing.

What was there before is kept in /var/lib/boltseal/install, and hook uninstall
puts it back. When anything fails, all is as it was.`

func (a *app) hookInstallCommand() *cobra.Command {
	c := &cobra.Command{Use: "install", Short: "Registers boltseal with container runtimes", Long: hookInstallHelp, Args: cobra.NoArgs}
	var flags hookFlags
	flags.add(c)
	dryRun := c.Flags().Bool("dry-run", false, "show the changes, write nothing")
	wrapper := c.Flags().Bool("wrapper", false, "containerd: also call its low-level runtimes through boltseal, which covers pause containers")
	baseSpec := c.Flags().Bool("base-spec", false, "containerd: also add the hook to the specs that containers are made from")
	form := outputFlag(c, asTable, asJSON)
	c.RunE = func(c *cobra.Command, _ []string) error {
		o, err := flags.options()
		if err != nil {
			return err
		}
		o.DryRun, o.Settings = *dryRun, install.Settings{Wrapper: *wrapper, BaseSpec: *baseSpec}
		r, err := install.Install(c.Context(), o)
		return a.showHookResult(r, err, *form, "registered", *dryRun)
	}
	return c
}

const hookUninstallHelp = `Takes back what hook install did: files are as they were, byte for byte. From
files that somebody has changed since, only what boltseal wrote is taken out; a
file of boltseal's own is then kept beside, as NAME.boltseal-saved.`

func (a *app) hookUninstallCommand() *cobra.Command {
	c := &cobra.Command{Use: "uninstall", Short: "Takes back what hook install did", Long: hookUninstallHelp, Args: cobra.NoArgs}
	var flags hookFlags
	flags.add(c)
	dryRun := c.Flags().Bool("dry-run", false, "show the changes, write nothing")
	form := outputFlag(c, asTable, asJSON)
	c.RunE = func(c *cobra.Command, _ []string) error {
		o, err := flags.options()
		if err != nil {
			return err
		}
		o.DryRun = *dryRun
		r, err := install.Uninstall(c.Context(), o)
		return a.showHookResult(r, err, *form, "unregistered", *dryRun)
	}
	return c
}

func (a *app) showHookResult(r *install.Result, err error, form, done string, dryRun bool) error {
	if err != nil {
		// Not to be taken for errors of the agent that --server-address names.
		return failed("%v", err)
	}
	if form == asJSON {
		return plain(a.Stdout, r)
	}
	var out strings.Builder
	for _, c := range r.Changes {
		for line := range strings.Lines(c.Diff) {
			fmt.Fprintln(&out, quote.Text(strings.TrimRight(line, "\r\n")))
		}
	}
	for _, note := range r.Notes {
		fmt.Fprintln(&out, quote.Text("note: "+note))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Reloads)) {
		fmt.Fprintln(&out, quote.Text(name+": "+r.Reloads[name]))
	}
	what := strings.Join(r.Runtimes, ", ")
	switch {
	case what == "":
		fmt.Fprintln(&out, "nothing to do")
	case dryRun:
		fmt.Fprintf(&out, "%s: would be %s, %s; nothing was written\n", what, done, plural(len(r.Changes), "change"))
	default:
		fmt.Fprintf(&out, "%s: %s, %s\n", what, done, plural(len(r.Changes), "change"))
	}
	_, err = fmt.Fprint(a.Stdout, out.String())
	return err
}

const hookStatusHelp = `Shows of each runtime whether it is there, whether boltseal is registered with
it, and what is left to do. The exit code is 1 unless boltseal is registered with
all that are there. Nothing is changed. That containers are sealed is not shown by
this: it is about files alone.`

func (a *app) hookStatusCommand() *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Shows which runtimes boltseal is registered with", Long: hookStatusHelp, Args: cobra.NoArgs}
	var flags hookFlags
	flags.add(c)
	form := outputFlag(c, asTable, asWide, asJSON)
	c.RunE = func(c *cobra.Command, _ []string) error {
		o, err := flags.options()
		if err != nil {
			return err
		}
		all, err := install.Status(c.Context(), o)
		if err != nil {
			return failed("%v", err)
		}
		if err := a.showHookStatus(all, *form); err != nil {
			return err
		}
		there, bad := 0, 0
		for _, r := range all {
			if r.Registered == install.NothingToTell {
				continue
			}
			there++
			if r.Registered != install.Registered && r.Registered != install.NotNeeded {
				bad++
			}
		}
		switch {
		case there == 0:
			return failed("%v", install.ErrNone)
		case bad > 0:
			return failed("not registered with %d of %s", bad, plural(there, "runtime"))
		}
		return nil
	}
	return c
}

func (a *app) showHookStatus(all []install.Runtime, form string) error {
	if form == asJSON {
		return plain(a.Stdout, all)
	}
	rows := [][]string{{"RUNTIME", "FOUND", "VERSION", "REGISTERED", "HOW"}}
	for _, r := range all {
		found := "no"
		if r.Present {
			found = "yes"
		}
		rows = append(rows, []string{r.Name, found, dash(r.Version), dash(r.Registered), dash(quote.Text(r.How))})
	}
	if err := table(a.Stdout, rows); err != nil {
		return err
	}
	for _, r := range all {
		if form == asWide {
			for _, f := range r.Files {
				fmt.Fprintf(a.Stdout, "%s: %s: %s\n", r.Name, quote.Text(f.Path), f.State)
			}
		}
		if r.Do != "" {
			fmt.Fprintf(a.Stdout, "%s: to do: %s\n", r.Name, quote.Text(r.Do))
		}
	}
	return nil
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
