// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/boltseal/boltseal/agent/internal/filter/condition"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// ErrInvalid is wrapped by all errors of Compile.
var ErrInvalid = errors.New("invalid filter")

// Filter is a compiled request. It is safe for concurrent use.
type Filter struct {
	allow, deny []conjunction
}

// conjunction is one filter object: all of its fields must hold.
type conjunction []predicate

type predicate func(*tetragon.GetEventsResponse) bool

// Compiler compiles filters. The zero Compiler is ready for use, and safe for
// concurrent use if its Lineage is.
type Compiler struct {
	// Lineage knows of ancestors that events do not have. Nil: nobody does.
	Lineage Lineage
}

// Compile compiles lists of filters that look at events alone.
func Compile(allow, deny []*tetragon.Filter) (*Filter, error) { return Compiler{}.Compile(allow, deny) }

// Compile compiles the lists of a request. The error tells of all faults, each
// with the path of its field.
func (c Compiler) Compile(allow, deny []*tetragon.Filter) (*Filter, error) {
	f := &Filter{}
	known := (&compilation{lineage: c.Lineage}).fields()
	var errs []error
	for _, list := range [...]struct {
		name    string
		objects []*tetragon.Filter
		into    *[]conjunction
	}{{"allow_list", allow, &f.allow}, {"deny_list", deny, &f.deny}} {
		for i, object := range list.objects {
			c, faults := compile(object, known)
			for _, fault := range faults {
				errs = append(errs, fmt.Errorf("%w: %s[%d].%w", ErrInvalid, list.name, i, fault))
			}
			*list.into = append(*list.into, c)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return f, nil
}

// Passes tells whether the subscriber gets an event: some object of the allow
// list holds, or there is none, and no object of the deny list does.
func (f *Filter) Passes(e *tetragon.GetEventsResponse) bool {
	return (len(f.allow) == 0 || holdsAny(f.allow, e)) && !holdsAny(f.deny, e)
}

func holdsAny(list []conjunction, e *tetragon.GetEventsResponse) bool {
	for _, c := range list {
		if c.holds(e) {
			return true
		}
	}
	return false
}

func (c conjunction) holds(e *tetragon.GetEventsResponse) bool {
	for _, p := range c {
		if !p(e) {
			return false
		}
	}
	return true
}

// compiler compiles one field of a filter object, which is set. Its errors begin with
// what stands behind the field's name in the path.
type compiler func(*tetragon.Filter) (predicate, []error)

// compilation is what the filters of one request share.
type compilation struct {
	lineage    Lineage
	conditions *condition.Compiler // made by the first that needs it
}

// fields are those of a filter object, by name.
func (c *compilation) fields() map[protoreflect.Name]compiler {
	return map[protoreflect.Name]compiler{
		"event_set":              eventSet,
		"pid":                    pids,
		"pid_set":                c.pidSet,
		"namespace":              namespaces,
		"container_id":           containerIDs,
		"policy_names":           policyNames,
		"health_check":           healthCheck,
		"in_init_tree":           inInitTree,
		"labels":                 podLabels,
		"capabilities":           capabilities,
		"cel_expression":         c.celExpressions,
		"binary_regex":           regexes((*tetragon.Filter).GetBinaryRegex, ofProcess, (*tetragon.Process).GetBinary),
		"arguments_regex":        regexes((*tetragon.Filter).GetArgumentsRegex, ofProcess, (*tetragon.Process).GetArguments),
		"pod_regex":              regexes((*tetragon.Filter).GetPodRegex, ofProcess, podName),
		"namespace_regex":        regexes((*tetragon.Filter).GetNamespaceRegex, ofProcess, namespace),
		"container_name_regex":   regexes((*tetragon.Filter).GetContainerNameRegex, ofProcess, containerName),
		"parent_binary_regex":    regexes((*tetragon.Filter).GetParentBinaryRegex, ofParent, (*tetragon.Process).GetBinary),
		"parent_arguments_regex": regexes((*tetragon.Filter).GetParentArgumentsRegex, ofParent, (*tetragon.Process).GetArguments),
		"ancestor_binary_regex":  c.ancestorBinaries,
	}
}

func compile(object *tetragon.Filter, known map[protoreflect.Name]compiler) (c conjunction, faults []error) {
	m := object.ProtoReflect()
	if err := unknown(m); err != nil {
		faults = append(faults, err)
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if !m.Has(fields.Get(i)) {
			continue
		}
		name := fields.Get(i).Name()
		of := known[name]
		if of == nil {
			faults = append(faults, fmt.Errorf("%s: not supported by this version", name))
			continue
		}
		holds, errs := of(object)
		for _, err := range errs {
			faults = append(faults, fmt.Errorf("%s%w", name, err))
		}
		c = append(c, holds)
	}
	return c, faults
}

// unknown refuses what a newer client may have set.
func unknown(m protoreflect.Message) error {
	if len(m.GetUnknown()) == 0 {
		return nil
	}
	number, _, _ := protowire.ConsumeTag(m.GetUnknown())
	return fmt.Errorf("field %d: not known to this version", number)
}
