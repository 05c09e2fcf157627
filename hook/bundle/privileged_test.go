// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/boltseal/boltseal/api/capability"
)

func TestPrivileged(t *testing.T) {
	t.Parallel()
	all := capability.Names()
	config := func(bounding []string, linux string) string {
		caps, err := json.Marshal(bounding)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"process": {"capabilities": {"bounding": %s}}, "linux": {"cgroupsPath": "/a/b"%s}}`, caps, linux)
	}
	without := slices.Delete(slices.Clone(all), 21, 22)
	for _, test := range []struct {
		name, config string
		lastCap      int
		want         bool
	}{
		{"everything", config(all, ""), 40, true},
		{"everything, in another order", config(append(all[20:len(all):len(all)], all[:20]...), ""), 40, true},
		{"a kernel that knows less", config(all[:38], ""), 37, true},
		{"less than the kernel knows", config(all[:38], ""), 40, false},
		{"a kernel that knows more", config(all, ""), 41, true},
		{"empty lists of paths", config(all, `, "maskedPaths": [], "readonlyPaths": []`), 40, true},
		{"no CAP_SYS_ADMIN", config(without, ""), 40, false},
		{"a name that is none in its place", config(append(without, "CAP_NONE"), ""), 40, false},
		{"a filter", config(all, `, "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}`), 40, false},
		{"masked paths", config(all, `, "maskedPaths": ["/proc/kcore"]`), 40, false},
		{"read-only paths", config(all, `, "readonlyPaths": ["/proc/sys"]`), 40, false},
		{"no capabilities", `{"process": {}, "linux": {"cgroupsPath": "/a/b"}}`, 40, false},
		{"no process", `{"linux": {"cgroupsPath": "/a/b"}}`, 40, false},
	} {
		c, err := ParseConfig([]byte(test.config))
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		state := State{ID: "c", Pid: 7, Bundle: "/b"}
		r, err := NewRequest(state, c, Hints{LastCap: test.lastCap})
		if err != nil || r.Privileged == nil || *r.Privileged != test.want {
			t.Errorf("%s: %v, %v, want %v", test.name, r.Privileged, err, test.want)
		}
		if r, err := NewRequest(state, c, Hints{}); err != nil || r.Privileged != nil {
			t.Errorf("%s, kernel not known: %v, %v", test.name, r.Privileged, err)
		}
	}
}

func TestParseLastCap(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"40\n": 40, "37": 37, "63\n": 63} {
		if got, err := ParseLastCap([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1", "64", "x", "40 41"} {
		if got, err := ParseLastCap([]byte(text)); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}
