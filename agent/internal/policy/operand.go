// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	maxString  = 4096
	maxPrefix  = 256
	maxPostfix = 128
	// maxSubString is the length of a value of OpSubString, maxSubStrings how many a
	// filter has.
	maxSubString  = 99
	maxSubStrings = 100
)

// resolveAll types the filter's values, given the types of the hook's arguments; the
// rest is as for resolve.
func (f *ArgFilter) resolveAll(types []ArgType, known *names, report func(value int, reason string)) {
	switch {
	case f.Op == OpCelExpr && slices.Contains(types, ArgAuto):
		// Nothing can be said of any before all are known.
	case f.Op == OpCelExpr:
		f.Expressions(types, report)
	case f.Op == OpCapabilitiesGained && types[f.Old] == ArgAuto:
	case f.Op == OpCapabilitiesGained && !types[f.Old].takes(f.Op):
		f.resolve(types[f.Old], known, report)
	default:
		f.resolve(types[f.Arg], known, report)
	}
}

// resolve types the filter's values, given the type of its argument. known is
// what words in the values mean. report gets what does not fit: the position of a value, or
// -1 for the operator.
func (f *ArgFilter) resolve(t ArgType, known *names, report func(value int, reason string)) {
	f.Strings, f.Ranges, f.Masks, f.Prefixes, f.Lists = nil, nil, nil, nil, nil
	switch {
	case t == ArgAuto:
		// What the values mean is not known before the type is.
	case !t.takes(f.Op):
		report(-1, fmt.Sprintf("%s compares %s, and the argument is of type %s", f.Op, f.Op.operands(), t))
	case f.Op.Positive() == OpFileType:
		f.resolveFileTypes(report)
	case f.Op == OpCapabilitiesGained:
		f.resolveGained(report)
	case t.Text() && f.Op != OpFamily:
		f.resolveStrings(report)
	case t.CapabilitySet():
		f.resolveCapabilitySets(report)
	case t.Socket(), t == ArgSockaddrUn:
		f.resolveSocket(known, report)
	case t == ArgSyscall64:
		f.resolveSyscalls(known, report)
	case f.Op == OpMask:
		f.resolveMasks(t, report)
	default:
		f.resolveIntegers(t, report)
	}
}

func (f *ArgFilter) resolveStrings(report func(int, string)) {
	f.Strings = make([]string, 0, len(f.Values))
	for i, v := range f.Values {
		s, reason := typedString(f.Op, v)
		if reason != "" {
			report(i, reason)
			continue
		}
		f.Strings = append(f.Strings, s)
	}
	slices.Sort(f.Strings)
	f.Strings = slices.Compact(f.Strings)
}

// typedString is a string as it is compared, or the reason why it cannot be.
func typedString(op Operator, s string) (typed, reason string) {
	max := maxString
	switch op.Positive() {
	case OpPrefix:
		max = maxPrefix
	case OpPostfix:
		max = maxPostfix
	case OpSubString:
		max = maxSubString
	case OpSubStringIgnCase:
		max = maxSubString
		s = FoldASCII(s)
	default:
		// The language lets an equal value carry the NUL that ends it in memory.
		s = strings.TrimSuffix(s, "\x00")
	}
	switch {
	case s == "":
		return "", "is empty"
	case len(s) > max:
		return "", fmt.Sprintf("is %d bytes long; %s takes at most %d", len(s), op, max)
	case strings.IndexByte(s, 0) >= 0:
		return "", fmt.Sprintf("%s has a NUL, which ends a string", quote(s))
	}
	return s, ""
}

func (f *ArgFilter) resolveIntegers(t ArgType, report func(int, string)) {
	numbers := t
	read := number
	if t == ArgCapability {
		// A capability is an int of the kernel that has names as well.
		numbers, read = ArgInt32, capabilityNumber
	}
	f.Ranges = make([]Range, 0, len(f.Values))
	for i, v := range f.Values {
		r, any, reason := interval(f.Op.Positive(), numbers, v, read)
		switch {
		case reason != "":
			report(i, reason)
		case any:
			f.Ranges = append(f.Ranges, r)
		}
	}
	f.orderRanges(numbers)
}

// orderRanges sorts the ranges, and merges those of operators of ranges.
func (f *ArgFilter) orderRanges(t ArgType) {
	order := compareUnsigned
	if t.Signed() {
		order = compareSigned
	}
	slices.SortFunc(f.Ranges, func(a, b Range) int { return cmp.Or(order(a.Lo, b.Lo), order(a.Hi, b.Hi)) })
	if f.Op.Positive() == OpEqual {
		f.Ranges = slices.Compact(f.Ranges)
		return
	}
	f.Ranges = merge(f.Ranges, t.Limits().Hi, order)
}

// resolveMasks takes bits, so that the sign bit of a signed type can be written
// as the large number that it is in others.
func (f *ArgFilter) resolveMasks(t ArgType, report func(int, string)) {
	f.Masks = make([]uint64, 0, len(f.Values))
	width := ^uint64(0)
	if size := t.Size(); size > 0 {
		width >>= 64 - 8*size
	}
	for i, v := range f.Values {
		bits, err := strconv.ParseUint(v, 0, 64)
		if err != nil || bits > width {
			var reason string
			if bits, reason = maskNumber(t, v); reason != "" {
				report(i, reason)
				continue
			}
		}
		f.Masks = append(f.Masks, bits&width)
	}
	slices.Sort(f.Masks)
	f.Masks = slices.Compact(f.Masks)
}

func maskNumber(t ArgType, s string) (bits uint64, reason string) {
	if t == ArgCapability {
		return capabilityNumber(ArgInt32, s)
	}
	return number(t, s)
}

// interval is what one value of a comparison stands for; any is false when that
// is no integer at all, as with the largest one of the type and GreaterThan. read
// reads one integer.
func interval(
	op Operator, t ArgType, s string, read func(ArgType, string) (uint64, string),
) (r Range, any bool, reason string) {
	lo, hi := s, s
	start, end, two := strings.Cut(s, ":")
	switch {
	case op == OpInRange && !two:
		return r, false, fmt.Sprintf("%s is no range: write min:max", quote(s))
	case op == OpInRange, op == OpInMap && two:
		lo, hi = start, end
	}
	if r.Lo, reason = read(t, lo); reason != "" {
		return r, false, reason
	}
	if r.Hi, reason = read(t, hi); reason != "" {
		return r, false, reason
	}
	limits := t.Limits()
	switch op {
	case OpGreaterThan:
		return Range{Lo: r.Lo + 1, Hi: limits.Hi}, r.Lo != limits.Hi, ""
	case OpLessThan:
		return Range{Lo: limits.Lo, Hi: r.Hi - 1}, r.Hi != limits.Lo, ""
	}
	if t.Signed() && int64(r.Lo) > int64(r.Hi) || !t.Signed() && r.Lo > r.Hi {
		return r, false, fmt.Sprintf("%s is no range: its end is before its start", quote(s))
	}
	return r, true, ""
}

// number reads decimal, 0x, 0 (octal) and 0b numbers.
func number(t ArgType, s string) (bits uint64, reason string) {
	var err error
	if t.Signed() {
		var signed int64
		signed, err = strconv.ParseInt(s, 0, 8*t.Size())
		bits = uint64(signed)
	} else {
		bits, err = strconv.ParseUint(strings.TrimPrefix(s, "+"), 0, 8*t.Size())
		if _, negative := strconv.ParseInt(s, 0, 64); err != nil && negative == nil {
			err = strconv.ErrRange
		}
	}
	switch {
	case err == nil:
		return bits, ""
	case !errors.Is(err, strconv.ErrRange):
		return 0, fmt.Sprintf("%s is no integer", quote(s))
	case t.Signed():
		return 0, fmt.Sprintf("%s is outside %s, %d to %d", clip(s), t, int64(t.Limits().Lo), int64(t.Limits().Hi))
	}
	return 0, fmt.Sprintf("%s is outside %s, 0 to %d", clip(s), t, t.Limits().Hi)
}

// merge joins sorted ranges that overlap or touch.
func merge(ranges []Range, last uint64, order func(a, b uint64) int) []Range {
	if len(ranges) == 0 {
		return ranges
	}
	merged := ranges[:1]
	for _, r := range ranges[1:] {
		end := &merged[len(merged)-1].Hi
		// The end of the type has no successor to touch.
		if *end == last || order(r.Lo, *end+1) <= 0 {
			if order(r.Hi, *end) > 0 {
				*end = r.Hi
			}
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

func compareUnsigned(a, b uint64) int { return cmp.Compare(a, b) }

func compareSigned(a, b uint64) int { return cmp.Compare(int64(a), int64(b)) }

// FoldASCII is a text with the letters A to Z as lower-case ones, and all other bytes
// as they are.
func FoldASCII(s string) string {
	folded := []byte(s)
	for i, c := range folded {
		if c >= 'A' && c <= 'Z' {
			folded[i] = c + 'a' - 'A'
		}
	}
	return string(folded)
}
