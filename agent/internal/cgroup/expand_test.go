// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"path"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestExpand(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		path    string
		systemd bool
		want    []string
	}{
		{"absolute", "/a/b", false, []string{"/a/b"}},
		{"absolute_unclean", "//a/./b/", false, []string{"/a/b"}},
		{"relative_is_under_the_root", "rel/path1", false, []string{"/rel/path1"}},
		{"empty_is_the_id", "", false, []string{"/c1", "/system.slice/runc-c1.scope", "/system.slice/crun-c1.scope"}},
		{"empty_with_systemd", "", true, []string{"/system.slice/runc-c1.scope", "/system.slice/crun-c1.scope"}},
		{"kubelet_cgroupfs", "/kubepods/burstable/podab-cd/0123", false, []string{"/kubepods/burstable/podab-cd/0123"}},
		{"unit_of_unknown_driver", "system.slice:runc:abc1", false, []string{"/system.slice:runc:abc1", "/system.slice/runc-abc1.scope"}},
		{"unit_of_systemd_driver", "rtl-pod.slice:myrt:ctr1", true, []string{"/rtl.slice/rtl-pod.slice/myrt-ctr1.scope"}},
		{"kubelet_systemd", "kubepods-burstable-podab_cd.slice:cri-containerd:0123", true,
			[]string{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podab_cd.slice/cri-containerd-0123.scope"}},
		{"empty_slice", ":docker:0123", true, []string{"/system.slice/docker-0123.scope"}},
		{"root_slice", "-.slice:p:n", true, []string{"/p-n.scope"}},
		{"root_slice_short", "-:p:n", true, []string{"/p-n.scope"}},
		{"empty_prefix", "user.slice::n", true, []string{"/user.slice/n.scope", "/user.slice/-n.scope"}},
		{"name_is_a_slice", "machine.slice:p:n.slice", true, []string{"/machine.slice/n.slice", "/machine.slice/p-n.slice.scope"}},
		{"four_parts_are_a_directory", "a:b:c:d", false, []string{"/a:b:c:d"}},
		{"bad_slice_is_a_directory", "a--b.slice:c:d", false, []string{"/a--b.slice:c:d"}},
		{"colons_in_a_directory", "/x/a:b:c", false, []string{"/x/a:b:c"}},
		{"dots_in_names", "/..a/b../...", false, []string{"/..a/b../..."}},
		{"other_scripts", "/контейнер", false, []string{"/контейнер"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := Expand(tt.path, "c1", tt.systemd)
			if err != nil {
				t.Fatalf("Expand(%q): %v", tt.path, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Expand(%q) (-want +got):\n%s", tt.path, diff)
			}
		})
	}
}

func TestExpandRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 4096)
	tests := []struct {
		name, path, id string
		systemd        bool
		field, reason  string
	}{
		{"upwards", "/a/../../b", "c", false, "linux.cgroupsPath", "upwards"},
		{"upwards_alone", "..", "c", false, "linux.cgroupsPath", "upwards"},
		{"upwards_in_slice", "../a.slice:p:n", "c", false, "linux.cgroupsPath", "upwards"},
		{"root", "/", "c", false, "linux.cgroupsPath", "root cgroup"},
		{"root_in_disguise", "/.//", "c", false, "linux.cgroupsPath", "root cgroup"},
		{"nul", "/a\x00b", "c", false, "linux.cgroupsPath", "control character 0x00 at byte 2"},
		{"newline", "/a\n0::/b", "c", false, "linux.cgroupsPath", "control character 0x0a"},
		{"escape_sequence", "/a\x1b[2J", "c", false, "linux.cgroupsPath", "control character 0x1b"},
		{"c1_control", "/a\u009b", "c", false, "linux.cgroupsPath", "control character 0x9b"},
		{"not_utf8", "/a\xff", "c", false, "linux.cgroupsPath", "UTF-8"},
		{"long_path", long, "c", false, "linux.cgroupsPath", "longer than a path"},
		{"long_name", "/" + long[:256], "c", false, "linux.cgroupsPath", "has 256 bytes"},
		{"long_unit", "a.slice:p:" + long[:250], "c", true, "linux.cgroupsPath", "bytes, over 255"},
		{"long_nesting", strings.Repeat("a-", 100) + "b.slice:p:n", "c", true, "linux.cgroupsPath", "over 4095"},
		{"no_unit", "/a/b", "c", true, "linux.cgroupsPath", "slice:prefix:name"},
		{"unit_without_name", "a.slice:p:", "c", true, "linux.cgroupsPath", "no systemd unit"},
		{"unit_with_slash", "a.slice:p:n/m", "c", true, "linux.cgroupsPath", "no systemd unit"},
		{"slice_with_slash", "a/b.slice:p:n", "c", true, "linux.cgroupsPath", "not the name of a slice"},
		{"slice_without_suffix", "a:p:n", "c", true, "linux.cgroupsPath", "not the name of a slice"},
		{"slice_without_stem", ".slice:p:n", "c", true, "linux.cgroupsPath", "empty component"},
		{"slice_with_empty_component", "a--b.slice:p:n", "c", true, "linux.cgroupsPath", "empty component"},
		{"empty_id", "", "", false, "id", "name of a cgroup"},
		{"id_with_slash", "", "a/b", false, "id", "name of a cgroup"},
		{"id_upwards", "", "..", false, "id", "upwards"},
		{"id_is_the_root", "", ".", false, "id", "name of a cgroup"},
		{"id_with_nul", "", "a\x00", true, "id", "control character"},
		{"long_id", "", long[:250], true, "id", "too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := Expand(tt.path, tt.id, tt.systemd)
			var invalid *InvalidPathError
			if !errors.As(err, &invalid) {
				t.Fatalf("Expand(%.40q) = %q, %v; want an InvalidPathError", tt.path, got, err)
			}
			if got != nil {
				t.Errorf("paths %q beside the error", got)
			}
			if invalid.Field != tt.field || !strings.Contains(invalid.Reason, tt.reason) {
				t.Errorf("error %q, want field %s and %q", invalid, tt.field, tt.reason)
			}
		})
	}
}

func FuzzExpand(f *testing.F) {
	for _, seed := range []string{"", "/", "/a/b", "rel", "..", "a:b:c", "a-b.slice:p:n", "-.slice:p:..", ":p:n", "-:p:n.slice", "/a\x00", "/\xff"} {
		f.Add(seed, "c1", true)
		f.Add(seed, "c1", false)
	}
	f.Fuzz(func(t *testing.T, text, id string, systemd bool) {
		paths, err := Expand(text, id, systemd)
		if err != nil {
			var invalid *InvalidPathError
			if !errors.As(err, &invalid) || len(paths) > 0 {
				t.Fatalf("Expand(%q, %q) = %q, %v", text, id, paths, err)
			}
			return
		}
		if len(paths) == 0 {
			t.Fatalf("Expand(%q, %q): neither path nor error", text, id)
		}
		for _, p := range paths {
			if p == "/" || path.Join("/", p) != p || len(p) > 4095 || !utf8.ValidString(p) ||
				strings.ContainsAny(p, "\x00\n") || checkPath(p) != nil {
				t.Fatalf("Expand(%q, %q) gave %q", text, id, p)
			}
		}
	})
}
