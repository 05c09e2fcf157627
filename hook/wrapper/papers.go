// SPDX-License-Identifier: Apache-2.0

package wrapper

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/hook/bundle"
)

// Hook is the createRuntime hook that is added to bundles.
type Hook struct {
	// Path is absolute; Args begins with the hook's own name.
	Path string   `json:"path"`
	Args []string `json:"args"`
	// Timeout is in seconds, and positive.
	Timeout int `json:"timeout"`
}

// AddHook returns config.json with the hook as the last of the createRuntime hooks.
// All other bytes stay as they are. A config.json that has the hook already, by path
// and arguments, comes back as it is, and added is false. Errors wrap
// [bundle.ErrConfig].
func AddHook(config []byte, hook Hook) (edited []byte, added bool, err error) {
	if edited, added, err = addHook(config, hook); err != nil {
		return nil, false, fmt.Errorf("%w: %w", bundle.ErrConfig, err)
	}
	return edited, added, nil
}

func addHook(config []byte, hook Hook) (edited []byte, added bool, err error) {
	if len(config) > bundle.MaxConfig {
		return nil, false, fmt.Errorf("larger than %d bytes", bundle.MaxConfig)
	}
	var valid json.RawMessage
	if err := json.Unmarshal(config, &valid); err != nil {
		return nil, false, err
	}
	entry, err := json.Marshal(hook)
	if err != nil {
		return nil, false, err
	}
	list := "[" + string(entry) + "]"
	stages := `{"createRuntime":` + list + "}"

	doc := document(config)
	hooks, err := doc.member(doc.skipSpace(0), "hooks")
	switch {
	case err != nil:
		return nil, false, err
	case !hooks.found:
		return doc.addMember(hooks, `"hooks":`+stages), true, nil
	case doc.isNull(hooks):
		return doc.replace(hooks.from, hooks.to, stages), true, nil
	}
	stage, err := doc.member(hooks.from, "createRuntime")
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("hooks: %w", err)
	case !stage.found:
		return doc.addMember(stage, `"createRuntime":`+list), true, nil
	case doc.isNull(stage):
		return doc.replace(stage.from, stage.to, list), true, nil
	}
	there, err := present(config[stage.from:stage.to], hook)
	if err != nil || there > 0 {
		return config, false, err
	}
	return doc.addElement(stage, string(entry)), true, nil
}

// present counts the entries of a list of hooks that do what the hook does. One whose
// arguments differ does not: they may name another agent.
func present(list []byte, hook Hook) (count int, err error) {
	var entries []struct {
		Path string   `json:"path"`
		Args []string `json:"args"`
	}
	if err := json.Unmarshal(list, &entries); err != nil {
		return 0, fmt.Errorf("hooks.createRuntime: %w", err)
	}
	for _, e := range entries {
		if e.Path == hook.Path && slices.Equal(e.Args, hook.Args) {
			count++
		}
	}
	return count, nil
}

// document is JSON that is known to be valid: its bytes are looked at one by one, and
// never decoded and encoded again, so that no number or order changes.
type document []byte

// place is where a member's value stands, or, when the member was not found, where it
// can be inserted.
type place struct {
	from, to int
	found    bool
	// alone tells that the object has no members.
	alone bool
}

// member finds the member of the object at the offset. A name that is there twice, or
// that is written in other letters, is an error: decoders differ in what they make of
// it, runc's takes either.
func (d document) member(at int, name string) (place, error) {
	if d[at] != '{' {
		return place{}, errors.New("not an object")
	}
	at = d.skipSpace(at + 1)
	p := place{from: at, to: at, alone: d[at] == '}'}
	for d[at] != '}' {
		end := d.skipValue(at)
		var key string
		if err := json.Unmarshal(d[at:end], &key); err != nil {
			return place{}, err
		}
		from := d.skipSpace(d.skipSpace(end) + 1) // behind the colon
		at = d.skipValue(from)
		switch {
		case key == name && p.found:
			return place{}, fmt.Errorf("%s is there twice", name)
		case key == name:
			p.from, p.to, p.found = from, at, true
		case strings.EqualFold(key, name):
			return place{}, fmt.Errorf("%q is not spelled %q", key, name)
		}
		if at = d.skipSpace(at); d[at] == ',' {
			at = d.skipSpace(at + 1)
		}
	}
	return p, nil
}

// skipSpace returns the offset of the first byte from there on that is no space.
func (d document) skipSpace(at int) int {
	for at < len(d) && strings.IndexByte(" \t\r\n", d[at]) >= 0 {
		at++
	}
	return at
}

// skipValue returns the offset behind the value that begins there.
func (d document) skipValue(at int) int {
	depth := 0
	for at < len(d) {
		switch d[at] {
		case '"':
			at = d.skipString(at)
		case '{', '[':
			depth++
			at++
		case '}', ']':
			depth--
			at++
		case ',', ':', ' ', '\t', '\r', '\n':
			at++
		default: // a number or a word
			at += len(d[at:]) - len(bytes.TrimLeft(d[at:], "+-.0123456789aEeflnrstu"))
		}
		if depth == 0 {
			break
		}
	}
	return at
}

// skipString returns the offset behind the string that begins there.
func (d document) skipString(at int) int {
	for at++; d[at] != '"'; at++ {
		if d[at] == '\\' {
			at++
		}
	}
	return at + 1
}

func (d document) isNull(p place) bool { return string(d[p.from:p.to]) == "null" }

// replace returns the document with text in the place of some of its bytes.
func (d document) replace(from, to int, text string) []byte {
	out := make([]byte, 0, len(d)+len(text))
	out = append(out, d[:from]...)
	out = append(out, text...)
	return append(out, d[to:]...)
}

// addMember inserts a member at the front of the object.
func (d document) addMember(p place, text string) []byte {
	if !p.alone {
		text += ","
	}
	return d.replace(p.from, p.from, text)
}

// addElement appends an element to the array.
func (d document) addElement(p place, text string) []byte {
	end := p.to - 1 // of the bracket
	if d.skipSpace(p.from+1) != end {
		text = "," + text
	}
	return d.replace(end, end, text)
}
