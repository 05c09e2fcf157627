// SPDX-License-Identifier: Apache-2.0

package match

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/agent/internal/policy"
)

const library = "../../../policies"

// TestLibrary holds what the policy library promises of every file. It stands
// here because the folder itself is outside of what may import the parser.
func TestLibrary(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(library)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(library, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	policies := 0
	for _, e := range entries {
		if e.Name() == "README.md" || e.IsDir() {
			continue
		}
		policies++
		name, isPolicy := strings.CutSuffix(e.Name(), ".yaml")
		if !isPolicy {
			t.Errorf("%s is no policy", e.Name())
			continue
		}
		text, err := os.ReadFile(filepath.Join(library, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		p, err := policy.Parse(text)
		if err != nil {
			t.Errorf("%s:\n%v", e.Name(), err)
			continue
		}
		if p.Name != name || len(p.Warnings) > 0 {
			t.Errorf("%s: its policy is called %s, warnings %v", e.Name(), p.Name, p.Warnings)
		}
		if !strings.Contains(string(readme), "]("+e.Name()+")") {
			t.Errorf("%s is not in the README", e.Name())
		}
		for selected, c := range map[bool]*container.Container{
			true:  {ID: "asks for it", Annotations: map[string]string{"boltseal.policy": name}},
			false: {ID: "does not", Annotations: map[string]string{"boltseal.policy": "other"}},
		} {
			if Selects(p, c) != selected || SelectsHost(p) {
				t.Errorf("%s: wrong for the container that %s, or selects the host", e.Name(), c.ID)
			}
		}
	}
	if policies == 0 {
		t.Error("the library is empty")
	}
}
