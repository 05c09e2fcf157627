// SPDX-License-Identifier: Apache-2.0

package wrapper

import "strings"

// Command is what could be read of a runtime's command line.
type Command struct {
	// Name is the command; empty when there is none or it could not be found.
	Name string
	// Unknown is the global flag behind which the command could not be found, empty
	// when the command line was understood.
	Unknown string
	// Log and LogFormat are the values of the global flags of those names.
	Log, LogFormat string
	// ID is the container's id, for exec.
	ID string
	// Bundles are the directories that the runtime may take for the bundle; empty
	// strings stand for the working directory. There is one, or two when the flag
	// stands behind the container's id, where not all runtimes look for it. None for
	// commands that make no container.
	Bundles []string
	// Config is the value of crun's flag for another file than config.json.
	Config string
	// Exec is what exec says about the process on its command line.
	Exec Process
	// ProcessFile is the file that has the process for exec instead.
	ProcessFile string
}

// Creates tells whether the command makes a container out of a bundle.
func (c Command) Creates() bool { return c.Name == "create" || c.Name == "run" || c.Name == "restore" }

// flagKind is how a flag takes its value.
type flagKind uint8

const (
	noFlag flagKind = iota
	switchFlag
	valueFlag
)

// globalFlag and the functions below it know the flags of runc and crun.
func globalFlag(name string) flagKind {
	switch name {
	case "debug", "systemd-cgroup", "help", "h", "version", "v", "V", "?", "usage", "no-pivot":
		return switchFlag
	case "log", "log-format", "log-level", "root", "criu", "rootless", "cgroup-manager":
		return valueFlag
	}
	return noFlag
}

func createFlag(name string) flagKind {
	switch name {
	case "detach", "d", "keep", "no-subreaper", "no-pivot", "no-new-keyring", "help", "h", "tcp-established",
		"ext-unix-sk", "shell-job", "file-locks", "auto-dedup", "lazy-pages":
		return switchFlag
	case "bundle", "b", "config", "f", "console-socket", "pid-file", "preserve-fds", "image-path", "work-path",
		"manage-cgroups-mode", "empty-ns", "lsm-profile", "lsm-mount-context":
		return valueFlag
	}
	return noFlag
}

func execFlag(name string) flagKind {
	switch name {
	case "tty", "t", "detach", "d", "no-new-privs", "ignore-paused", "help", "h":
		return switchFlag
	case "console-socket", "cwd", "env", "e", "user", "u", "additional-gids", "g", "process", "p", "pid-file",
		"process-label", "apparmor", "cap", "c", "preserve-fds", "cgroup":
		return valueFlag
	}
	return noFlag
}

// flag is one flag of a command line.
type flag struct {
	name, value string
	kind        flagKind
	// whole is true when the flag's value, if it has one, stood in the same argument.
	whole bool
}

// next reads one flag off the front of args, and says how many arguments it takes; 0
// when args does not begin with a flag.
func next(args []string, kindOf func(string) flagKind) (f flag, taken int) {
	arg := args[0]
	if len(arg) < 2 || arg[0] != '-' || arg == "--" {
		return flag{}, 0
	}
	// Go's flag package takes one dash for two.
	long := strings.HasPrefix(arg, "--")
	name := strings.TrimPrefix(arg[1:], "-")
	f.name, f.value, f.whole = strings.Cut(name, "=")
	f.kind = kindOf(f.name)
	switch {
	case f.kind == noFlag && !long && !f.whole && kindOf(name[:1]) == valueFlag:
		// getopt: the value of a short flag right behind it.
		return flag{name: name[:1], value: name[1:], kind: valueFlag, whole: true}, 1
	case f.kind != valueFlag || f.whole:
		return f, 1
	case len(args) < 2:
		return f, 1
	}
	f.value = args[1]
	return f, 2
}

// Parse reads a runtime's arguments, without its own name. It never fails: what it
// could not read is missing in the command.
func Parse(args []string) Command {
	var c Command
	for len(args) > 0 {
		f, taken := next(args, globalFlag)
		if taken == 0 {
			break
		}
		if f.kind == noFlag && !f.whole {
			c.Unknown = args[0]
			return c
		}
		switch f.name {
		case "log":
			c.Log = f.value
		case "log-format":
			c.LogFormat = f.value
		}
		args = args[taken:]
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return c
	}
	c.Name = args[0]
	switch {
	case c.Creates():
		c.parseCreate(args[1:])
	case c.Name == "exec":
		c.parseExec(args[1:])
	}
	return c
}

// parseCreate reads the arguments of a command that makes a container. A flag that is
// not known is passed by: what may be its value is no flag, and so is passed by, too.
func (c *Command) parseCreate(args []string) {
	c.Bundles = []string{""}
	behind := false
	for len(args) > 0 && args[0] != "--" {
		f, taken := next(args, createFlag)
		switch {
		case taken == 0:
			behind, taken = true, 1
		case f.name == "bundle" || f.name == "b":
			c.Bundles = bundles(c.Bundles[0], f.value, behind)
		case f.name == "config" || f.name == "f":
			c.Config = f.value
		}
		args = args[taken:]
	}
}

// bundles is what the flag leaves of the bundles: the last one wins.
func bundles(front, value string, behind bool) []string {
	if !behind || front == value {
		return []string{value}
	}
	return []string{front, value}
}

// parseExec reads the arguments of exec: all behind the id is the process's.
func (c *Command) parseExec(args []string) {
	for len(args) > 0 {
		f, taken := next(args, execFlag)
		if taken == 0 {
			break
		}
		switch f.name {
		case "cwd":
			c.Exec.Cwd = f.value
		case "user", "u":
			c.Exec.User = f.value
		case "tty", "t":
			c.Exec.TTY = f.value != "false"
		case "process", "p":
			c.ProcessFile = f.value
		}
		args = args[taken:]
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) > 0 {
		c.ID, c.Exec.Args = args[0], args[1:]
	}
}
