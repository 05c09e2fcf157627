// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	goflag "flag"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	docker := "--root /var/run/docker/runtime-runc/moby --log /run/x/log.json --log-format json --systemd-cgroup "
	for line, want := range map[string]Command{
		"":                                      {},
		"--version":                             {},
		"features":                              {Name: "features"},
		"state x":                               {Name: "state"},
		"-- create x":                           {Name: "create", Bundles: []string{""}},
		"- create":                              {Name: "-"},
		"--debug delete --force x":              {Name: "delete"},
		"--debug=false kill x 9":                {Name: "kill"},
		"--root create list":                    {Name: "list"},
		"--root=create list":                    {Name: "list"},
		"-root /r -log=/l create x":             {Name: "create", Log: "/l", Bundles: []string{""}},
		"--cgroup-manager systemd run x":        {Name: "run", Bundles: []string{""}},
		"--cgroup-manager=cgroupfs run -b /b x": {Name: "run", Bundles: []string{"/b"}},
		"--log-level=debug --rootless=auto run x": {Name: "run", Bundles: []string{""}},
		"--new=1 run x":                         {Name: "run", Bundles: []string{""}},
		"--new 1 run x":                         {Unknown: "--new"},
		"--log /l --new run x":                  {Log: "/l", Unknown: "--new"},
		"-r /x run x":                           {Unknown: "-r"},
		"--root":                                {},
		"run":                                   {Name: "run", Bundles: []string{""}},
		"run --bundle":                          {Name: "run", Bundles: []string{""}},
		"run --bundle /b x":                     {Name: "run", Bundles: []string{"/b"}},
		"run --bundle=/b x":                     {Name: "run", Bundles: []string{"/b"}},
		"run -b=/b x":                           {Name: "run", Bundles: []string{"/b"}},
		"run -b/b x":                            {Name: "run", Bundles: []string{"/b"}},
		"run -bundle /b x":                      {Name: "run", Bundles: []string{"/b"}},
		"run -b /a -b /b x":                     {Name: "run", Bundles: []string{"/b"}},
		"run -d --pid-file -b -b /b x":          {Name: "run", Bundles: []string{"/b"}},
		"run --new -b /b x":                     {Name: "run", Bundles: []string{"/b"}},
		"run --new 1 -b /b x":                   {Name: "run", Bundles: []string{"", "/b"}},
		"run x -b /b":                           {Name: "run", Bundles: []string{"", "/b"}},
		"run -b /a x -b /b":                     {Name: "run", Bundles: []string{"/a", "/b"}},
		"run -b /a x -b /a":                     {Name: "run", Bundles: []string{"/a"}},
		"run -- x -b /b":                        {Name: "run", Bundles: []string{""}},
		"run -f c.json -b /b x":                 {Name: "run", Bundles: []string{"/b"}, Config: "c.json"},
		"create --config=/c.json x":             {Name: "create", Bundles: []string{""}, Config: "/c.json"},
		"restore --image-path /i --bundle /b x": {Name: "restore", Bundles: []string{"/b"}},
		docker + "create --bundle /b --pid-file /b/init.pid x": {
			Name: "create", Log: "/run/x/log.json", LogFormat: "json", Bundles: []string{"/b"},
		},
		docker + "exec --process /tmp/p --console-socket /s --detach --pid-file /q x": {
			Name: "exec", Log: "/run/x/log.json", LogFormat: "json", ID: "x", ProcessFile: "/tmp/p", Exec: Process{Args: []string{}},
		},
		"exec -t -u 1:2 --cwd /w -e A=b x sh -c --cwd": {
			Name: "exec", ID: "x", Exec: Process{Args: []string{"sh", "-c", "--cwd"}, Cwd: "/w", User: "1:2", TTY: true},
		},
		"exec --tty=false -- x sh": {Name: "exec", ID: "x", Exec: Process{Args: []string{"sh"}}},
		"exec":                     {Name: "exec"},
		"exec -p":                  {Name: "exec"},
	} {
		args := strings.Fields(line)
		if got := Parse(args); !reflect.DeepEqual(got, want) {
			t.Errorf("%q\ngot  %+v\nwant %+v", line, got, want)
		}
	}
}

// goSays reads a command line of create with the flag package that runc is built on: what
// it says of the command and of its bundle, if it takes the command line at all.
func goSays(args []string) (command, bundle string, ok bool) {
	parse := func(args []string, kindOf func(string) flagKind, names []string) ([]string, string, bool) {
		set := goflag.NewFlagSet("", goflag.ContinueOnError)
		set.SetOutput(io.Discard)
		bundle := ""
		for _, name := range names {
			switch kindOf(name) {
			case switchFlag:
				set.Bool(name, false, "")
			case valueFlag:
				set.String(name, "", "")
			}
		}
		if set.Lookup("bundle") != nil {
			set.Lookup("bundle").Value, set.Lookup("b").Value = (*text)(&bundle), (*text)(&bundle)
		}
		err := set.Parse(args)
		return set.Args(), bundle, err == nil
	}
	rest, _, ok := parse(args, globalFlag, []string{
		"debug", "systemd-cgroup", "help", "h", "version", "v", "log", "log-format", "root", "criu", "rootless",
	})
	if !ok || len(rest) == 0 {
		return "", "", ok
	}
	command = rest[0]
	if !(Command{Name: command}).Creates() {
		return command, "", true
	}
	_, bundle, ok = parse(rest[1:], createFlag, []string{
		"bundle", "b", "console-socket", "pid-file", "preserve-fds", "detach", "d", "keep", "no-pivot", "no-new-keyring", "no-subreaper",
	})
	return command, bundle, ok
}

// text is a flag's value that others write to, too.
type text string

func (t *text) String() string     { return string(*t) }
func (t *text) Set(s string) error { *t = text(s); return nil }

// FuzzParse compares with Go's flag package what runc makes of a command line that it
// takes. Nothing may be lost of what exec starts.
func FuzzParse(f *testing.F) {
	for _, line := range []string{
		"--root\x00/r\x00create\x00-b\x00/b\x00x", "--log=/l\x00--debug\x00run\x00--bundle=/b\x00-d\x00x", "--\x00run\x00-b=/x\x00--\x00y",
		"exec\x00-t\x00x\x00sh\x00-c\x00id", "-root\x00--\x00restore\x00--pid-file\x00-b\x00z", "--new=1\x00create", "-\x00-", "--=",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		before := slices.Clone(args)
		got := Parse(args)
		if !slices.Equal(args, before) {
			t.Fatalf("%q became %q", before, args)
		}
		if got.Creates() != (len(got.Bundles) > 0) || got.Unknown != "" && got.Name != "" {
			t.Errorf("%q: %+v", args, got)
		}
		if got.Name == "exec" && got.ID != "" {
			tail := append([]string{got.ID}, got.Exec.Args...)
			if !slices.Equal(args[len(args)-len(tail):], tail) {
				t.Errorf("%q: exec of %q", args, tail)
			}
		}
		command, bundle, ok := goSays(args)
		if !ok {
			return
		}
		if got.Name != command || got.Creates() && got.Bundles[0] != bundle {
			t.Errorf("%q: %+v, but runc does %q with %q", args, got, command, bundle)
		}
	})
}
