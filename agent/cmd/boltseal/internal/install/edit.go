// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/install/jsonedit"
	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/install/tomledit"
)

// format is how a file is written. The empty one is that of files that are ours
// and are written and taken back whole.
type format string

const (
	formatWhole format = ""
	formatJSON  format = "json"
	formatTOML  format = "toml"
)

func (f format) known() bool { return f == formatWhole || f == formatJSON || f == formatTOML }

// edit is one key that was written in a file of somebody else.
type edit struct {
	Path  []string        `json:"path"`
	Value json.RawMessage `json:"value"`
	// Old is the value before, nil when there was none.
	Old json.RawMessage `json:"old,omitempty"`
	// Made tells that the object around it was made for it.
	Made bool `json:"made,omitempty"`
}

// get returns the value at the path as JSON.
func (f format) get(doc []byte, path []string) (json.RawMessage, bool, error) {
	if f == formatJSON {
		return jsonedit.Get(doc, path...)
	}
	tree, err := tomledit.Parse(doc)
	if err != nil {
		return nil, false, err
	}
	value, found := tomledit.Get(tree, path...)
	if !found {
		return nil, false, nil
	}
	text, err := json.Marshal(value)
	return text, true, err
}

func (f format) set(doc []byte, value json.RawMessage, path []string) ([]byte, error) {
	if f == formatJSON {
		return jsonedit.Set(doc, value, path...)
	}
	plain, err := scalar(value)
	if err != nil {
		return nil, err
	}
	return tomledit.Set(doc, plain, path...)
}

// scalar is a value as the TOML editor takes it.
func scalar(value json.RawMessage) (any, error) {
	var s string
	if json.Unmarshal(value, &s) == nil {
		return s, nil
	}
	var b bool
	if json.Unmarshal(value, &b) == nil {
		return b, nil
	}
	var n int64
	if json.Unmarshal(value, &n) == nil {
		return n, nil
	}
	return nil, errors.New("must be a string, a bool or an integer")
}

func (f format) remove(doc []byte, path []string, parents bool) ([]byte, error) {
	if f == formatTOML {
		return tomledit.Delete(doc, parents, path...)
	}
	doc, err := jsonedit.Delete(doc, path...)
	if err != nil || !parents || len(path) < 2 {
		return doc, err
	}
	around := path[:len(path)-1]
	if value, found, err := jsonedit.Get(doc, around...); err != nil || !found || !jsonedit.Equal(value, []byte("{}")) {
		return doc, err
	}
	return jsonedit.Delete(doc, around...)
}

// hollow tells whether nothing is left in a file that was made for our keys.
func (f format) hollow(doc []byte) bool {
	if f == formatJSON {
		return strings.TrimSpace(string(doc)) == "" || jsonedit.Equal(doc, []byte("{}"))
	}
	tree, err := tomledit.Parse(doc)
	delete(tree, "version")
	return err == nil && len(tree) == 0
}

// same compares values that JSON may write in many ways.
func same(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// strip takes the edits out of a document, the last first, and returns those that
// it left: somebody has changed their keys since.
func strip(f format, doc []byte, edits []edit) ([]byte, []string, error) {
	var left []string
	for _, e := range slices.Backward(edits) {
		name := strings.Join(e.Path, ".")
		value, found, err := f.get(doc, e.Path)
		switch {
		case err != nil:
			return nil, nil, err
		case !found:
			continue
		case !same(value, e.Value):
			left = append(left, name)
			continue
		case e.Old != nil:
			doc, err = f.set(doc, e.Old, e.Path)
		default:
			doc, err = f.remove(doc, e.Path, e.Made)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return doc, left, nil
}
