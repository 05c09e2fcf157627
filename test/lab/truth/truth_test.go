// SPDX-License-Identifier: Apache-2.0

package truth

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestTableIsWhole(t *testing.T) {
	t.Parallel()
	kernels := len(Columns()) / 2
	seen := map[string]bool{}
	for _, r := range rows() {
		if r.feature == "" || seen[r.feature] {
			t.Errorf("%q: no name, or named twice", r.feature)
		}
		seen[r.feature] = true
		if r.because == "" {
			t.Errorf("%s: nothing says how it is known", r.feature)
		}
		cells := strings.Fields(r.kernels)
		if len(cells) != kernels {
			t.Errorf("%s: %d cells for %d kernels", r.feature, len(cells), kernels)
		}
		for _, cell := range cells {
			if !slices.Contains([]string{has, hasNot, withModule}, cell) {
				t.Errorf("%s: a cell says %q", r.feature, cell)
			}
		}
	}
}

func TestColumns(t *testing.T) {
	t.Parallel()
	fact := func(column, feature string) bool {
		c, err := Named(column)
		if err != nil || c.Name != column {
			t.Errorf("%s: %+v, %v", column, c, err)
		}
		facts := c.Facts()
		i := slices.IndexFunc(facts, func(f Fact) bool { return f.Feature == feature })
		if i < 0 {
			t.Fatalf("%s: nothing about %s", column, feature)
		}
		return facts[i].Has
	}
	for _, tt := range []struct {
		column, feature string
		want            bool
	}{
		{"5.10", "lsm", true}, {"5.10-nobpf", "lsm", false},
		{"6.12-inject", "lsm", true}, {"6.12-inject-nobpf", "lsm", false},
		{"5.10", "task_storage", false}, {"6.1-nobpf", "task_storage", true},
		{"7", "uprobe_regs_change", true}, {"7-nobpf", "override_return", false}, {"6.12-inject-nobpf", "override_return", true},
		{"6.12", "btf_modules", true}, {"6.12-inject", "btf_modules", false},
	} {
		if got := fact(tt.column, tt.feature); got != tt.want {
			t.Errorf("%s on %s: %v, want %v", tt.feature, tt.column, got, tt.want)
		}
	}
	for _, name := range []string{"", "5", "5.10-bpf", "-nobpf", "6.12-nobpf-nobpf", "7 "} {
		if c, err := Named(name); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "6.12-inject-nobpf") {
			t.Errorf("%q: %+v, %v", name, c, err)
		}
	}
}
