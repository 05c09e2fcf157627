// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
)

func TestReadFunctions(t *testing.T) {
	t.Parallel()
	text := "vfs_read\ndo_exit\ntwice\nnf_hook [nf_tables]\ntwice [mod]\n__ftrace_invalid_address___123\na.isra.0\n"
	names, err := readFunctions(strings.NewReader(text))
	if want := []string{"a.isra.0", "do_exit", "nf_hook", "vfs_read"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("functions %q, %v; want %q", names, err, want)
	}
	if _, err := readFunctions(strings.NewReader(strings.Repeat("x", 1<<20))); err == nil {
		t.Error("a line without an end is read")
	}
}

// TestFunctionsOfThisKernel: where there is a list, it has what every kernel has.
func TestFunctionsOfThisKernel(t *testing.T) {
	testenv.Require(t, testenv.Root(), testenv.Tracefs())
	tracefs, err := OpenTracefs()
	if err != nil {
		t.Fatal(err)
	}
	defer tracefs.Close()
	names, err := tracefs.Functions()
	testenv.Require(t, testenv.Optional("list of functions that can be traced", func() error {
		if errors.Is(err, ErrNoFunctions) || errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil
	}))
	if err != nil || len(names) < 10_000 || !slices.IsSorted(names) {
		t.Fatalf("%d functions, %v", len(names), err)
	}
	for _, name := range []string{"vfs_read", "security_file_open"} {
		if _, found := slices.BinarySearch(names, name); !found {
			t.Errorf("%s is not among %d functions", name, len(names))
		}
	}
	t.Logf("%d functions", len(names))
}
