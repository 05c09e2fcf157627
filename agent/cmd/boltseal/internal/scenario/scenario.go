// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"go.yaml.in/yaml/v3"
)

// Limits of a scenario.
const (
	// MaxTextBytes is how long its text may be.
	MaxTextBytes = 1 << 20
	maxCases     = 64
	maxFiles     = 256
	maxWords     = 64
	maxEvents    = 10_000
	maxName      = 128
)

// Expectation is the verdict that a case expects.
type Expectation string

// The expectations.
const (
	// Killed: the process dies by SIGKILL.
	Killed Expectation = "killed"
	// Denied: what it asks for fails, and it lives.
	Denied Expectation = "denied"
	// Allowed: nothing is done to it.
	Allowed Expectation = "allowed"
)

// Scenario is a parsed scenario. It is immutable.
type Scenario struct {
	Name string
	// Policy is the path of the policy's file, from the scenario's own directory.
	Policy    string
	Container Container
	// Files are the texts of files in the container, by their paths.
	Files map[string]string
	Cases []Case
}

// Container is what the containers of a scenario are like.
type Container struct {
	Annotations, Labels map[string]string
	// Name and Image are those that an engine would tell; often empty.
	Name, Image string
	// PodName and PodNamespace are empty for a container in no pod.
	PodName, PodNamespace string
	Capabilities          []string
}

// Case is one trigger and what is expected of it.
type Case struct {
	Name    string
	Command []string
	Expect  Expectation
	// Errno is what a denied command has to tell of; 0: it need not.
	Errno unix.Errno
	// Exit is the status of the command when it is allowed.
	Exit int
	// Events is how many events of the policy there have to be; -1: it is not said.
	Events int
}

// FaultError is one fault of a scenario's text.
type FaultError struct {
	// Line is counted from 1; 0 when the fault is the text's as a whole.
	Line int
	// Path is the field: "cases[0].expect".
	Path   string
	Reason string
}

// Error is "line 3: cases[0].expect: reason".
func (f *FaultError) Error() string {
	text := f.Reason
	if f.Path != "" {
		text = f.Path + ": " + text
	}
	if f.Line > 0 {
		text = fmt.Sprintf("line %d: %s", f.Line, text)
	}
	return text
}

// Parse parses a scenario. All faults are reported, joined, each a *FaultError.
func Parse(text []byte) (*Scenario, error) {
	if len(text) > MaxTextBytes {
		return nil, &FaultError{Reason: fmt.Sprintf("is longer than %d bytes", MaxTextBytes)}
	}
	var root yaml.Node
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	if err := decoder.Decode(&root); err != nil {
		return nil, &FaultError{Reason: "not YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	if err := decoder.Decode(&yaml.Node{}); err == nil {
		return nil, &FaultError{Reason: "has a second document"}
	}
	d := &decoding{}
	s := d.scenario(field{node: root.Content[0]})
	if len(d.faults) > 0 {
		return nil, errors.Join(d.faults...)
	}
	return s, nil
}

func (d *decoding) scenario(f field) *Scenario {
	s := &Scenario{}
	d.object(f, keys{
		"name":      func(f field) { s.Name = d.text(f, maxName) },
		"policy":    func(f field) { s.Policy = d.text(f, unix.PathMax) },
		"container": func(f field) { s.Container = d.container(f) },
		"files":     func(f field) { s.Files = d.files(f) },
		"cases": func(f field) {
			d.list(f, maxCases, func(f field) { s.Cases = append(s.Cases, d.oneCase(f)) })
			if len(s.Cases) == 0 {
				d.fault(f, "has no case")
			}
		},
	}, "name", "policy", "cases")
	return s
}

func (d *decoding) container(f field) Container {
	var c Container
	d.object(f, keys{
		"annotations": func(f field) { c.Annotations = d.texts(f) },
		"labels":      func(f field) { c.Labels = d.texts(f) },
		"name":        func(f field) { c.Name = d.text(f, maxName) },
		"image":       func(f field) { c.Image = d.text(f, unix.PathMax) },
		"pod": func(f field) {
			d.object(f, keys{
				"name":      func(f field) { c.PodName = d.text(f, maxName) },
				"namespace": func(f field) { c.PodNamespace = d.text(f, maxName) },
			}, "name", "namespace")
		},
		"capabilities": func(f field) {
			d.list(f, maxWords, func(f field) {
				name := d.text(f, maxName)
				if name != "" && !strings.HasPrefix(name, "CAP_") {
					d.fault(f, "%q is no CAP_ name", name)
				}
				c.Capabilities = append(c.Capabilities, name)
			})
		},
	})
	return c
}

func (d *decoding) files(f field) map[string]string {
	files := d.texts(f)
	if len(files) > maxFiles {
		d.fault(f, "has %d files, more than %d", len(files), maxFiles)
	}
	for path := range files {
		if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || strings.Contains(path, "\x00") {
			d.fault(f, "%q is no absolute path of a file", path)
		}
	}
	return files
}

func (d *decoding) oneCase(f field) Case {
	c := Case{Events: -1}
	var errno, exit field
	d.object(f, keys{
		"name":    func(f field) { c.Name = d.text(f, maxName) },
		"command": func(f field) { c.Command = d.command(f) },
		"expect":  func(f field) { c.Expect = d.expectation(f) },
		"errno":   func(f field) { errno, c.Errno = f, d.errno(f) },
		"exit":    func(f field) { exit, c.Exit = f, d.integer(f, 0, 255) },
		"events":  func(f field) { c.Events = d.integer(f, 0, maxEvents) },
	}, "name", "command", "expect")
	if errno.node != nil && c.Expect != Denied {
		d.fault(errno, "is for what is %s", Denied)
	}
	if exit.node != nil && c.Expect == Denied && c.Exit != 0 {
		d.fault(exit, "cannot be told from a denial: the command has to end with 0 when it is allowed")
	}
	return c
}

func (d *decoding) command(f field) []string {
	var words []string
	d.list(f, maxWords, func(f field) { words = append(words, d.text(f, MaxTextBytes)) })
	if len(words) == 0 || words[0] == "" {
		d.fault(f, "names no program")
	}
	return words
}

func (d *decoding) expectation(f field) Expectation {
	e := Expectation(d.text(f, maxName))
	if e != Killed && e != Denied && e != Allowed {
		d.fault(f, "is %q, not %s, %s or %s", e, Killed, Denied, Allowed)
	}
	return e
}

func (d *decoding) errno(f field) unix.Errno {
	name := d.text(f, maxName)
	for n := unix.Errno(1); n < 256; n++ {
		if unix.ErrnoName(n) == name {
			return n
		}
	}
	d.fault(f, "%q is no name of an error: write EPERM", name)
	return 0
}
