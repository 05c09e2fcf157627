// SPDX-License-Identifier: Apache-2.0

package policy

import "slices"

// fileTypes are the types of files by the words for them, as the highest four bits
// of an inode's mode.
func fileTypes() map[string]uint64 {
	return map[string]uint64{
		"fifo": 1, "pipe": 1,
		"chr": 2, "char": 2,
		"dir": 4,
		"blk": 6, "block": 6,
		"reg": 8, "regular": 8,
		"lnk": 10, "link": 10,
		"sock": 12, "socket": 12,
	}
}

func (f *ArgFilter) resolveFileTypes(report func(int, string)) {
	f.Ranges = make([]Range, 0, len(f.Values))
	for i, v := range f.Values {
		t, ok := fileTypes()[v]
		if !ok {
			report(i, quote(v)+" is no type of files: sock, lnk, reg, blk, dir, chr or fifo")
			continue
		}
		f.Ranges = append(f.Ranges, Range{t, t})
	}
	slices.SortFunc(f.Ranges, func(a, b Range) int { return compareUnsigned(a.Lo, b.Lo) })
	f.Ranges = slices.Compact(f.Ranges)
}
