// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Config is the part of a bundle's config.json that the hook uses.
type Config struct {
	// Version is the version of the specification that the bundle was written for.
	Version string
	// CgroupsPath is linux.cgroupsPath as it is written, empty when absent.
	CgroupsPath string
	// Root is root.path as it is written, empty when absent.
	Root string
	// Annotations are the bundle's annotations.
	Annotations map[string]string
	// Mounts are the mounts in their order.
	Mounts []Mount
	// Bounding are the names of the capabilities that a process can have, and
	// Confined tells of a seccomp filter or of masked or read-only paths.
	Bounding []string
	Confined bool
	// Replaced is true when bytes that are no UTF-8 were replaced by U+FFFD.
	Replaced bool
}

// Mount is one mount of a container.
type Mount struct {
	Destination string
	Type        string
	Source      string
	Options     []string
}

// wire is what is decoded of config.json. It is not specs.Spec: the decoder
// builds its tables for every type it can reach, on each run of a process that
// lives for two milliseconds, and the whole Spec costs more than the rest of
// the run.
type wire struct {
	Version     string            `json:"ociVersion"`
	Root        *specs.Root       `json:"root"`
	Mounts      []Mount           `json:"mounts"`
	Annotations map[string]string `json:"annotations"`
	Process     *struct {
		Capabilities *struct {
			Bounding []string `json:"bounding"`
		} `json:"capabilities"`
	} `json:"process"`
	Linux *struct {
		CgroupsPath   string    `json:"cgroupsPath"`
		Seccomp       *struct{} `json:"seccomp"`
		MaskedPaths   []string  `json:"maskedPaths"`
		ReadonlyPaths []string  `json:"readonlyPaths"`
	} `json:"linux"`
}

// ParseConfig reads a bundle's config.json. Errors wrap ErrConfig. A container
// without a linux section is refused: it has no cgroup that could be sealed.
func ParseConfig(raw []byte) (Config, error) {
	if len(raw) > MaxConfig {
		return Config{}, fmt.Errorf("%w: larger than %d bytes", ErrConfig, MaxConfig)
	}
	var in wire
	if err := json.Unmarshal(raw, &in); err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if in.Linux == nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, errors.New("no linux section: not a Linux container"))
	}
	c := Config{
		Version: in.Version, CgroupsPath: in.Linux.CgroupsPath, Annotations: in.Annotations,
		Mounts: in.Mounts, Replaced: !utf8.Valid(raw),
		Confined: in.Linux.Seccomp != nil || len(in.Linux.MaskedPaths)+len(in.Linux.ReadonlyPaths) > 0,
	}
	if in.Process != nil && in.Process.Capabilities != nil {
		c.Bounding = in.Process.Capabilities.Bounding
	}
	if in.Root != nil {
		c.Root = in.Root.Path
	}
	return c, nil
}
