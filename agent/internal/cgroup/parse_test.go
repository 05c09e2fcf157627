// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseProc(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text, want string
		err              error
	}{
		{"pure", "0::/a/b\n", "/a/b", nil},
		{"hybrid", "12:pids:/x\n1:name=systemd:/y\n0::/z\n", "/z", nil},
		{"v1_is_not_taken_for_v2", "10::/x\n2:cpu:0::/y\n0::/z\n", "/z", nil},
		{"root", "0::/\n", "/", nil},
		{"odd_names", "0::/a:b/ c\t\x01\xff/0::\n", "/a:b/ c\t\x01\xff/0::", nil},
		{"deleted_is_kept", "0::/a (deleted)\n", "/a (deleted)", nil},
		{"outside", "0::/../b\n", "", ErrOutside},
		{"outside_alone", "0::/..\n", "", ErrOutside},
		{"dots_are_a_name", "0::/..b\n", "/..b", nil},
		{"only_v1", "1:cpu:/a\n", "", ErrNoUnified},
		{"empty", "", "", ErrNoUnified},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseProc([]byte(tt.text))
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("parseProc = %q, %v; want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
	for _, text := range []string{"0::a\n", "0::\n", "0::/a/../b\n"} {
		if got, err := parseProc([]byte(text)); err == nil {
			t.Errorf("parseProc(%q) = %q, want an error", text, got)
		}
	}
}

func FuzzParseProc(f *testing.F) {
	f.Add([]byte("12:pids:/x\n0::/a/b (deleted)\n"))
	f.Add([]byte("0::/../b\n"))
	f.Add([]byte("0::/a\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parseProc(text)
		if err != nil {
			return
		}
		if !strings.HasPrefix(p, "/") || strings.ContainsAny(p, "\n\x00") || strings.Contains(p+"/", "/../") {
			t.Fatalf("parseProc(%q) = %q", text, p)
		}
	})
}

func TestUnifiedMounts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		info []string
		want []string
	}{
		{"pure", []string{"30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"}, []string{"/sys/fs/cgroup"}},
		{"hybrid", []string{
			"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755",
			"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
			"41 31 0:38 / /sys/fs/cgroup/unified rw shared:1 master:2 - cgroup2 cgroup2 rw",
		}, []string{"/sys/fs/cgroup/unified"}},
		{"later_mount_first", []string{
			"41 31 0:38 / /a rw - cgroup2 none rw",
			"42 31 0:38 / /b rw - cgroup2 none rw",
		}, []string{"/b", "/a"}},
		{"part_of_the_tree", []string{"41 31 0:38 /../.. /a rw - cgroup2 none rw", "41 31 0:38 /x /b rw - cgroup2 none rw"}, nil},
		{"escaped", []string{`41 31 0:38 / /a\040b\134\999 rw - cgroup2 none rw`}, []string{`/a b\\999`}},
		{"broken", []string{"", "41 31 0:38 /", "41 31 0:38 / /a rw -", "- cgroup2", "41 31 0:38 / /a rw - "}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := unifiedMounts([]byte(strings.Join(tt.info, "\n") + "\n"))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzUnifiedMounts(f *testing.F) {
	f.Add([]byte("41 31 0:38 / /a\\040b rw shared:1 - cgroup2 none rw\n"))
	f.Add([]byte("- cgroup2\n\\\\\\1"))
	f.Fuzz(func(_ *testing.T, info []byte) { unifiedMounts(info) })
}
