// SPDX-License-Identifier: Apache-2.0

// Package condition compiles conditions on events that are written in CEL, the
// Common Expression Language. It is pure.
//
// A condition is an expression whose value is true or false. Its variables are the
// messages of the types of events, named as the fields of GetEventsResponse are:
// process_exec, process_kprobe and so on; their fields have the names of the API.
// Only the variable of the event's own type has a value. So a condition that names
// types holds for events of those types only, and one of two types, such as
//
//	process_exec.process.pid == 1u || process_exit.process.pid == 1u
//
// holds for an event of one of them by that one's side. What fails for an event,
// as the index of a list that is too short, does not hold for it.
//
// Beside what CEL has there are addresses: ip, isIP, cidr, isCIDR, containsIP,
// containsCIDR, family, isLoopback, isUnspecified, isGlobalUnicast,
// isLinkLocalUnicast, isLinkLocalMulticast, masked and prefixLength, as Kubernetes
// has them. Enums are integers; their values can be named, as
// KprobeAction.KPROBE_ACTION_SIGKILL.
//
// What an evaluation may cost is bounded, as expressions come from clients and the
// texts that they look at from processes: at the bound it fails.
package condition

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/boltseal/boltseal/agent/internal/filter/subject"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// Limits of a condition.
const (
	// MaxText is the most bytes of one.
	MaxText = 4096
	// MaxCost is the most that one evaluation may cost, in CEL's units: about one
	// for each step and each ten bytes of a text that is looked at or made. So it also
	// bounds the memory: to count that, too, would double the time.
	MaxCost = 100_000

	maxNesting       = 50
	maxLoops         = 3 // within each other
	maxNodes         = 2000
	maxRegexpProgram = 2000
)

// Compiler compiles conditions. It is safe for concurrent use.
type Compiler struct {
	env   *cel.Env
	types map[string]tetragon.EventType // by variable
}

// NewCompiler is a compiler of conditions on all types of events.
func NewCompiler() (*Compiler, error) {
	c := &Compiler{types: map[string]tetragon.EventType{}}
	options := []cel.EnvOption{
		cel.Types(&tetragon.GetEventsResponse{}), cel.Container("tetragon"), ext.Network(),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserRecursionLimit(maxNesting), cel.ParserExpressionSizeLimit(MaxText),
		cel.ExpressionNodeLimit(maxNodes), cel.RegexProgramSizeLimit(maxRegexpProgram),
		cel.ASTValidators(
			cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(),
			cel.ValidateComprehensionNestingLimit(maxLoops),
		),
	}
	for _, f := range subject.Fields() {
		c.types[string(f.Name())] = tetragon.EventType(f.Number())
		options = append(options, cel.Variable(string(f.Name()), cel.ObjectType(string(f.Message().FullName()))))
	}
	var err error
	c.env, err = cel.NewEnv(options...)
	return c, err
}

// Condition is a compiled condition. It is safe for concurrent use.
type Condition struct {
	program cel.Program
	// names are the types that the expression names, by their variables. None: it
	// depends on no event.
	names map[tetragon.EventType]string
}

// Compile compiles an expression.
func (c *Compiler) Compile(text string) (*Condition, error) {
	if len(text) > MaxText {
		return nil, fmt.Errorf("is %d bytes long, more than %d", len(text), MaxText)
	}
	checked, issues := c.env.Compile(text)
	if err := issues.Err(); err != nil {
		return nil, oneLine(issues)
	}
	if !checked.OutputType().IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("is of type %s: write a condition", checked.OutputType())
	}
	program, err := c.env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(MaxCost))
	if err != nil {
		return nil, err
	}
	of := &Condition{program: program, names: map[tetragon.EventType]string{}}
	for _, r := range checked.NativeRep().ReferenceMap() {
		if t, ok := c.types[r.Name]; ok {
			of.names[t] = r.Name
		}
	}
	return of, nil
}

// oneLine is the first of the faults that CEL found, without its picture.
func oneLine(issues *cel.Issues) error {
	for _, e := range issues.Errors() {
		message, _, _ := strings.Cut(e.Message, "\n")
		return fmt.Errorf("%s (column %d)", message, e.Location.Column()+1)
	}
	return issues.Err()
}

// Types are the types of events that the condition can hold for; none: all.
func (c *Condition) Types() []tetragon.EventType {
	var all []tetragon.EventType
	for t := range c.names {
		all = append(all, t)
	}
	slices.Sort(all)
	return all
}

// Holds tells whether the condition holds for an event.
func (c *Condition) Holds(e *tetragon.GetEventsResponse) bool {
	v := variables{event: e}
	if len(c.names) > 0 {
		if v.name = c.names[subject.Type(e)]; v.name == "" {
			return false
		}
	}
	value, _, err := c.program.Eval(v)
	return err == nil && value == types.True
}

// variables has the one variable that an event gives a value to.
type variables struct {
	event *tetragon.GetEventsResponse
	name  string
}

// ResolveName is cel.Activation.
func (v variables) ResolveName(name string) (any, bool) {
	if name != v.name || name == "" {
		return nil, false
	}
	return subject.Message(v.event), true
}

// Parent is cel.Activation.
func (variables) Parent() cel.Activation { return nil }
