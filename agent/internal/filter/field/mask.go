// SPDX-License-Identifier: Apache-2.0

package field

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/boltseal/boltseal/agent/internal/filter/subject"
)

// mask is what is kept of a message: all of it, or some of its fields, which can be
// none. Masks are not changed once they are made.
type mask struct {
	all  bool
	some []part
	// dropping masks keep all but drop, and some are those of which not all is kept. Only
	// ready makes them.
	dropping bool
	drop     []protoreflect.FieldDescriptor
}

// part is one field that is kept, and what of its message or messages.
type part struct {
	field protoreflect.FieldDescriptor
	mask  mask
}

func everything() mask { return mask{all: true} }

func (m mask) find(f protoreflect.FieldDescriptor) int {
	return slices.IndexFunc(m.some, func(p part) bool { return p.field.Number() == f.Number() })
}

// union keeps what one of two keeps.
func (m mask) union(other mask) mask {
	if m.all || other.all {
		return everything()
	}
	out := mask{some: slices.Clone(m.some)}
	for _, p := range other.some {
		if i := out.find(p.field); i >= 0 {
			out.some[i].mask = out.some[i].mask.union(p.mask)
		} else {
			out.some = append(out.some, p)
		}
	}
	return out
}

// without keeps what other does not. other keeps some fields only; message is that
// of both.
func (m mask) without(other mask, message protoreflect.MessageDescriptor) mask {
	var out mask
	if m.all {
		for i := range message.Fields().Len() {
			m.some = append(m.some, part{message.Fields().Get(i), everything()})
		}
	}
	for _, p := range m.some {
		i := other.find(p.field)
		switch {
		case i < 0:
		case other.some[i].mask.all:
			continue
		default:
			p.mask = p.mask.without(other.some[i].mask, p.field.Message())
		}
		out.some = append(out.some, p)
	}
	return out
}

// parse is the mask of one path. Its names are those of the API or of its JSON.
func parse(path string, message protoreflect.MessageDescriptor) (mask, error) {
	name, rest, more := strings.Cut(path, ".")
	f := message.Fields().ByName(protoreflect.Name(name))
	if f == nil {
		f = message.Fields().ByJSONName(name)
	}
	if f == nil {
		return mask{}, fmt.Errorf("%s has no field %q", message.Name(), name)
	}
	if !more {
		return mask{some: []part{{f, everything()}}}, nil
	}
	if f.IsMap() || f.Message() == nil {
		return mask{}, fmt.Errorf("%s.%s is no message: there is nothing below it", message.Name(), name)
	}
	below, err := parse(rest, f.Message())
	return mask{some: []part{{f, below}}}, err
}

// ready is the mask as apply takes it, for which the quicker way is chosen: to take what
// is kept, or to take all and leave out what is not.
func (m mask) ready(message protoreflect.MessageDescriptor) mask {
	if m.all {
		return m
	}
	fields := message.Fields()
	out := mask{dropping: len(m.some) > fields.Len()/2}
	if out.dropping {
		for i := range fields.Len() {
			if m.find(fields.Get(i)) < 0 {
				out.drop = append(out.drop, fields.Get(i))
			}
		}
	}
	for _, p := range m.some {
		if p.field.Message() != nil && !p.field.IsMap() {
			p.mask = p.mask.ready(p.field.Message())
		}
		if !out.dropping || !p.mask.all {
			out.some = append(out.some, p)
		}
	}
	return out
}

// apply is a copy of a message with what the mask keeps. It shares what is kept
// whole with the message.
func (m mask) apply(from protoreflect.Message) protoreflect.Message {
	if m.all {
		return from
	}
	var to protoreflect.Message
	if m.dropping {
		to = subject.Shallow(from.Interface()).ProtoReflect()
		for _, f := range m.drop {
			to.Clear(f)
		}
	} else {
		to = from.New()
	}
	for i := range m.some {
		p := &m.some[i]
		if from.Has(p.field) {
			subject.Set(to, p.field, p.apply(to, from.Get(p.field)))
		}
	}
	return to
}

// apply is what is kept of the field's value, for a field of message to.
func (p *part) apply(to protoreflect.Message, v protoreflect.Value) protoreflect.Value {
	switch {
	case p.mask.all:
		return v
	case p.field.IsList():
		list := to.NewField(p.field)
		for n := range v.List().Len() {
			list.List().Append(protoreflect.ValueOfMessage(p.mask.apply(v.List().Get(n).Message())))
		}
		return list
	}
	return protoreflect.ValueOfMessage(p.mask.apply(v.Message()))
}
