// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// Limits of the kernel: a path with its closing NUL, and one name.
const (
	maxPath = 4096
	maxName = 255
)

// InvalidPathError says why a container's cgroup path cannot be derived from
// its OCI configuration.
type InvalidPathError struct {
	// Field is the one at fault: "linux.cgroupsPath", or "id" for the
	// container's id.
	Field string
	// Reason says what is wrong with it.
	Reason string
}

// Error implements error.
func (e *InvalidPathError) Error() string { return e.Field + ": " + e.Reason }

// Expand is where a runtime will create the cgroup of a container whose OCI
// configuration has this cgroupsPath, as paths below the root of the unified
// hierarchy. The configuration does not say which of a runtime's two drivers
// interprets it, and runtimes differ in detail, so that there may be several
// answers, of which at most one comes true; the likeliest is first.
//
// systemd tells that the runtime is known to use the systemd driver. Without
// it the answers of both drivers are returned for a path that both accept.
//
// A relative path is taken from the root, as runtimes do that are themselves
// started in the root cgroup or use version 1 hierarchies. What could lead
// elsewhere than to a cgroup of its own (upward components, control
// characters, the root itself) is an *InvalidPathError and no path at all.
func Expand(cgroupsPath, containerID string, systemd bool) ([]string, error) {
	if cgroupsPath == "" {
		return expandEmpty(containerID, systemd)
	}
	if err := checkText(fieldPath, cgroupsPath); err != nil {
		return nil, err
	}
	var paths []string
	if !systemd {
		p, err := expandPlain(cgroupsPath)
		if err != nil {
			return nil, err
		}
		paths = append(paths, p)
	}
	scopes, err := expandUnit(cgroupsPath)
	if err != nil {
		if systemd {
			return nil, err
		}
		return paths, nil
	}
	return append(paths, scopes...), nil
}

const (
	fieldPath = "linux.cgroupsPath"
	fieldID   = "id"
)

// expandEmpty is Expand for a configuration without a path.
func expandEmpty(id string, systemd bool) ([]string, error) {
	if err := checkText(fieldID, id); err != nil {
		return nil, err
	}
	if strings.Contains(id, "/") || id == "." || id == "" {
		return nil, &InvalidPathError{fieldID, fmt.Sprintf("%q cannot be the name of a cgroup", id)}
	}
	const longest = "runc-" + ".scope"
	if len(id)+len(longest) > maxName {
		return nil, &InvalidPathError{fieldID, fmt.Sprintf("%d bytes are too long for the name of a cgroup", len(id))}
	}
	scopes := []string{"/system.slice/runc-" + id + ".scope", "/system.slice/crun-" + id + ".scope"}
	if systemd {
		return scopes, nil
	}
	return append([]string{"/" + id}, scopes...), nil
}

// expandPlain is what the cgroupfs driver makes of a path.
func expandPlain(text string) (string, error) {
	p := path.Join("/", text)
	if p == "/" {
		return "", &InvalidPathError{fieldPath, fmt.Sprintf("%q is the root cgroup, to which all of the host belongs", text)}
	}
	return p, checkNames(p)
}

// expandUnit is what the systemd driver makes of "slice:prefix:name".
func expandUnit(text string) ([]string, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return nil, &InvalidPathError{fieldPath, fmt.Sprintf("%q is not of the form slice:prefix:name", text)}
	}
	slice, prefix, name := parts[0], parts[1], parts[2]
	if name == "" || strings.Contains(prefix+name, "/") {
		return nil, &InvalidPathError{fieldPath, fmt.Sprintf("%q names no systemd unit", prefix+":"+name)}
	}
	dir, err := expandSlice(slice)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, unit := range unitNames(prefix, name) {
		p := path.Join(dir, unit)
		if err := checkNames(p); err != nil {
			return nil, err
		}
		paths = append(paths, p)
	}
	return paths, nil
}

// unitNames are the units that runtimes make of a prefix and a name.
func unitNames(prefix, name string) []string {
	scope := prefix + "-" + name + ".scope"
	switch {
	case strings.HasSuffix(name, ".slice"):
		return []string{name, scope} // runc takes it literally, crun does not
	case prefix == "":
		return []string{name + ".scope", scope}
	default:
		return []string{scope}
	}
}

// expandSlice is the path of a slice: dashes in its name nest.
func expandSlice(slice string) (string, error) {
	switch slice {
	case "":
		return "/system.slice", nil
	case "-", "-.slice":
		return "/", nil
	}
	stem, ok := strings.CutSuffix(slice, ".slice")
	if !ok || strings.Contains(slice, "/") {
		return "", &InvalidPathError{fieldPath, fmt.Sprintf("%q is not the name of a slice", slice)}
	}
	dir, name := "", ""
	for part := range strings.SplitSeq(stem, "-") {
		if part == "" {
			return "", &InvalidPathError{fieldPath, fmt.Sprintf("slice %q has an empty component", slice)}
		}
		name += part
		dir += "/" + name + ".slice"
		name += "-"
	}
	return dir, nil
}

// checkText refuses text that would be written to logs, maps or the kernel
// with another meaning than it shows.
func checkText(field, text string) error {
	switch {
	case len(text) >= maxPath:
		return &InvalidPathError{field, fmt.Sprintf("%d bytes are longer than a path can be (%d)", len(text), maxPath-1)}
	case !utf8.ValidString(text):
		return &InvalidPathError{field, fmt.Sprintf("%q is not valid UTF-8", text)}
	}
	for i, c := range text {
		if c < 0x20 || (c >= 0x7f && c < 0xa0) {
			return &InvalidPathError{field, fmt.Sprintf("control character %#02x at byte %d", c, i)}
		}
	}
	for part := range strings.SplitSeq(text, "/") {
		if part == ".." {
			return &InvalidPathError{field, fmt.Sprintf("%q goes upwards", text)}
		}
	}
	return nil
}

// checkNames refuses a resulting path that the kernel would not take.
func checkNames(p string) error {
	if len(p) >= maxPath {
		return &InvalidPathError{fieldPath, fmt.Sprintf("the cgroup's path would have %d bytes, over %d", len(p), maxPath-1)}
	}
	for name := range strings.SplitSeq(p, "/") {
		if len(name) > maxName {
			return &InvalidPathError{fieldPath, fmt.Sprintf("name %.20q... has %d bytes, over %d", name, len(name), maxName)}
		}
	}
	return nil
}
