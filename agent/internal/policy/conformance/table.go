// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed *.tsv
var tables embed.FS

// Type is a name of a type of arguments, at one kind of place.
type Type struct {
	// Name is the language's. Some types have several.
	Name string
	// Place is where arguments of it are: "raw" in a word of the kernel's functions,
	// "call" in one of a system call, whose pointers are to the process's memory,
	// "record" in the record of a tracepoint.
	Place string
	// Field is the field of events that it comes to.
	Field string
	// Operands are what operators find in it.
	Operands []string
	// Shown are tests that show it where the kernel of a test run may lack its structure.
	Shown []string
}

// Takes tells whether the operator compares arguments of the type.
func (t Type) Takes(o Operator) bool {
	return o.Operands != "-" && slices.Contains(t.Operands, o.Operands)
}

// String names the type and its place.
func (t Type) String() string {
	if t.Place == "raw" {
		return t.Name
	}
	return t.Name + " (" + t.Place + ")"
}

// Operator is an operator of filters on values.
type Operator struct {
	// Name is the language's.
	Name string
	// Operands are what it compares; "-" where it is an operator of other selectors.
	Operands string
}

// Types are all names of types.
func Types() ([]Type, error) {
	rows, err := table("types.tsv", 5)
	types := make([]Type, 0, len(rows))
	for _, row := range rows {
		types = append(types, Type{Name: row[0], Place: row[1], Field: row[2], Operands: strings.Fields(row[3]), Shown: strings.Fields(given(row[4]))})
	}
	return types, err
}

// Operators are all names of operators.
func Operators() ([]Operator, error) {
	rows, err := table("operators.tsv", 2)
	operators := make([]Operator, 0, len(rows))
	for _, row := range rows {
		operators = append(operators, Operator{row[0], row[1]})
	}
	return operators, err
}

// Selector is a form of a selector's key, with two filters: one that holds for the
// process that tests run in, and one that does not.
type Selector struct {
	// Key is the key of the selector, Form what of it the row is about.
	Key, Form string
	// Hit and Miss are the values of the key, in which words that begin with $ stand for
	// what only the test knows.
	Hit, Miss string
	// Shown are the tests that show what the rest of the row does not.
	Shown []string
}

// Selectors are the forms of all keys of selectors.
func Selectors() ([]Selector, error) {
	rows, err := table("selectors.tsv", 5)
	selectors := make([]Selector, 0, len(rows))
	for _, row := range rows {
		selectors = append(selectors, Selector{row[0], given(row[1]), row[2], row[3], strings.Fields(given(row[4]))})
	}
	return selectors, err
}

// Action is a form of an action.
type Action struct {
	// Name is the action's; Form what of it the row is about.
	Name, Form string
	// Section is one that has it.
	Section string
	// Text is the item of matchActions, Bad one that is refused.
	Text, Bad string
	// Effect is what a test run shows of it; "-": nothing, but Shown does.
	Effect string
	// Shown are tests on real hooks.
	Shown []string
}

// Actions are all actions.
func Actions() ([]Action, error) {
	rows, err := table("actions.tsv", 7)
	actions := make([]Action, 0, len(rows))
	for _, row := range rows {
		actions = append(actions, Action{row[0], given(row[1]), row[2], row[3], row[4], row[5], strings.Fields(given(row[6]))})
	}
	return actions, err
}

// Key is a key of the language, in one object.
type Key struct {
	// In is the object; Name the key.
	In, Name string
	// Good is the object with the key, as it is taken, Bad as it is refused; of a key
	// that is never taken Good is "-".
	Good, Bad string
}

// Keys are all keys.
func Keys() ([]Key, error) {
	rows, err := table("keys.tsv", 4)
	keys := make([]Key, 0, len(rows))
	for _, row := range rows {
		keys = append(keys, Key{row[0], row[1], row[2], row[3]})
	}
	return keys, err
}

// table reads rows of so many columns.
func table(name string, columns int) (rows [][]string, err error) {
	text, err := tables.ReadFile(name)
	if err != nil {
		return nil, err
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		row := strings.Split(line, "\t")
		if len(row) != columns {
			return nil, fmt.Errorf("%s:%d has %d columns, not %d", name, number, len(row), columns)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// given is what a column says, where "-" is nothing.
func given(s string) string {
	if s == "-" {
		return ""
	}
	return s
}
