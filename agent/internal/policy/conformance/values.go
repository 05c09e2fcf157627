// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Facts are what an argument of an event has. Those that are not of its type are zero.
type Facts struct {
	// Number is that of an integer, as bits that are extended to 64, and Old the set of
	// capabilities that it is compared with.
	Number, Old uint64
	// Bits is the width of an integer in expressions.
	Bits   int
	Signed bool
	// Text is that of a text, or the path of a file, with at least 6 bytes and 99 at
	// most, of which those in the middle have a letter.
	Text string
	// FileType is the word for the type of the file.
	FileType string
	// Source and Target are addresses; the numbers are those of a socket.
	Source, Target          netip.AddrPort
	Protocol, Family, State uint16
}

// Filter is what a filter of matchArgs compares an argument with.
type Filter struct {
	// Values are the filter's, none where the operator takes none.
	Values []string
	// Holds tells whether the filter holds for the facts.
	Holds bool
}

// Filters are filters with an operator that compares what the facts are of: one at
// least holds or does not hold for the facts; all operators that take values have one
// of both. arg is the position of the argument in the hook.
func (f Facts) Filters(operator string, arg int) ([]Filter, error) {
	positive, negated := strings.CutPrefix(operator, "Not")
	if negated && strings.HasPrefix(positive, "Sport") {
		positive = "SPortPriv"
	}
	switch positive {
	case "SPortPriv":
		return []Filter{{nil, (f.Source.Port() < 1024) != negated}}, nil
	case "DPortPriv":
		return []Filter{{nil, (f.Target.Port() < 1024) != negated}}, nil
	}
	hit, miss := f.values(positive, arg)
	if hit == nil {
		return nil, fmt.Errorf("no values are known for %s", operator)
	}
	return []Filter{{hit, !negated}, {miss, negated}}, nil
}

// values are those for which an operator that is not negated holds, and those for
// which it does not.
func (f Facts) values(operator string, arg int) (hit, miss []string) {
	switch operator {
	case "Equal", "Prefix", "Postfix", "SubString", "SubStringIgnCase":
		if f.Text != "" {
			return f.texts(operator)
		}
	case "FileType":
		other := "fifo"
		if f.FileType == other {
			other = "reg"
		}
		return []string{other, f.FileType}, []string{other, "lnk"}
	case "SPort":
		return port(f.Source)
	case "DPort":
		return port(f.Target)
	case "SAddr":
		return networks(f.Source.Addr())
	case "DAddr":
		return networks(f.Target.Addr())
	case "Protocol":
		return near(f.Protocol)
	case "Family":
		return near(f.Family)
	case "State":
		return near(f.State)
	case "CapabilitiesGained":
		return f.gained()
	case "CelExpr":
		return f.expressions(arg)
	}
	return f.numbers(operator)
}

func (f Facts) texts(operator string) (hit, miss []string) {
	n := len(f.Text)
	switch operator {
	case "Equal":
		return []string{"other", f.Text}, []string{f.Text + "x", f.Text[:n-1]}
	case "Prefix":
		return []string{"other", f.Text[:n-2]}, []string{f.Text + "x", f.Text[1:]}
	case "Postfix":
		return []string{"other", f.Text[2:]}, []string{"x" + f.Text, f.Text[:n-1]}
	}
	middle := f.Text[1 : n-1]
	swapped := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, middle)
	if operator == "SubString" {
		return []string{"other", middle}, []string{swapped, middle + "x"}
	}
	return []string{"other", swapped}, []string{swapped + "x"}
}

func port(a netip.AddrPort) (hit, miss []string) { return near(a.Port()) }

// near are a number, and those beside it.
func near(n uint16) (hit, miss []string) {
	return []string{fmt.Sprint(n)}, []string{fmt.Sprint(n + 1), fmt.Sprintf("%d:%d", n+2, n+3)}
}

func networks(a netip.Addr) (hit, miss []string) {
	within, _ := a.Prefix(a.BitLen() - 4)
	other := a.Next()
	return []string{"192.0.2.0/24", within.String()}, []string{other.String()}
}

// numbers are for operators of integers. Those of negative ones tell whether they are
// compared as such.
func (f Facts) numbers(operator string) (hit, miss []string) {
	n := func(add int64) string {
		if f.Signed {
			return strconv.FormatInt(int64(f.Number)+add, 10)
		}
		return strconv.FormatUint(f.Number+uint64(add), 10)
	}
	above := n(1)
	if f.Signed && int64(f.Number) < 0 {
		above = "1"
	}
	switch operator {
	case "Equal":
		return []string{n(0), n(1)}, []string{n(-1), n(1)}
	case "GT", "GreaterThan":
		return []string{n(-1)}, []string{above}
	case "LT", "LessThan":
		return []string{above}, []string{n(0)}
	case "InRange":
		return []string{n(-1) + ":" + above}, []string{n(-3) + ":" + n(-1), n(1) + ":" + n(2)}
	case "InMap":
		return []string{n(-5), n(-1) + ":" + above}, []string{n(-3) + ":" + n(-1), n(1)}
	case "Mask":
		lowest := f.Number & -f.Number
		return []string{strconv.FormatUint(lowest, 10)}, []string{strconv.FormatUint(lowest>>1, 10)}
	}
	return nil, nil
}

func (f Facts) gained() (hit, miss []string) {
	for c := range uint64(64) {
		if f.Number&^f.Old&(1<<c) != 0 {
			hit = append(hit, strconv.FormatUint(c, 10))
		} else if f.Number&(1<<c) != 0 {
			miss = append(miss, strconv.FormatUint(c, 10))
		}
	}
	return hit, miss
}

// expressions compute with the argument, in the type that it has there.
func (f Facts) expressions(arg int) (hit, miss []string) {
	literal := func(n uint64) string {
		switch {
		case f.Signed && f.Bits == 64:
			return strconv.FormatInt(int64(n), 10)
		case f.Signed:
			return fmt.Sprintf("int32(%d)", int64(n))
		case f.Bits == 64:
			return fmt.Sprintf("%du", n)
		}
		return fmt.Sprintf("uint32(%d)", n)
	}
	is := func(n uint64) string { return fmt.Sprintf("arg%d == %s", arg, literal(n)) }
	return []string{is(f.Number + 1), fmt.Sprintf("%s && arg%d < %s", is(f.Number), arg, literal(f.Number+1))}, []string{is(f.Number + 1)}
}

// YAML is the item of matchArgs with these values about the argument at a position,
// and for CapabilitiesGained the one after it.
func (f Filter) YAML(operator string, arg int) string {
	quoted := make([]string, len(f.Values))
	for i, v := range f.Values {
		quoted[i] = "'" + strings.ReplaceAll(v, "'", "''") + "'"
	}
	at := fmt.Sprintf("args: [%d]", arg)
	if operator == "CapabilitiesGained" {
		at = fmt.Sprintf("args: [%d, %d]", arg, arg+1)
	}
	if len(quoted) == 0 {
		return fmt.Sprintf("{%s, operator: %s}", at, operator)
	}
	return fmt.Sprintf("{%s, operator: %s, values: [%s]}", at, operator, strings.Join(quoted, ", "))
}
