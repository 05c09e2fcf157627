// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestGolden holds what check and explain say of the policies in testdata/golden
// against the file beside each. To add a policy, put it there, with the described
// kernel that it is explained for in its first line ("# kernel: 6.12"), and run
//
//	go test ./agent/cmd/boltseal/internal/cli -run TestGolden -rewrite
//
// Nothing in them depends on the machine that runs this.
func TestGolden(t *testing.T) {
	t.Parallel()
	policies, err := filepath.Glob("testdata/golden/*.yaml")
	if err != nil || len(policies) < 30 {
		t.Fatalf("%d policies, error %v", len(policies), err)
	}
	for _, file := range policies {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			head, _, _ := strings.Cut(string(text), "\n")
			kernel, ok := strings.CutPrefix(head, "# kernel: ")
			if !ok {
				t.Fatalf("the first line is %q, not # kernel: ...", head)
			}
			var got strings.Builder
			for _, command := range []string{"policy check " + file, "policy explain --kernel " + kernel + " " + file} {
				got.WriteString("$ boltseal " + command + "\n" + execute(t, command, "/none") + "\n")
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *rewrite {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got.String(), "\n")); diff != "" {
				t.Errorf("%s: want -, got +:\n%s", golden, diff)
			}
		})
	}
}
