// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
)

// Request is what the agent is told about one container: the fields of the
// API's CreateContainer message. All strings are valid UTF-8.
type Request struct {
	CgroupsPath    string // as config.json spells it
	RootDir        string // absolute, empty when config.json has no root
	Annotations    map[string]string
	Name           string
	ID             string
	PodName        string
	PodUID         string
	PodNamespace   string
	Image          string
	Mounts         []Mount
	Labels         map[string]string
	PodLabels      map[string]string
	InitPid        uint32 // 0: only announced
	Runtime        string // engine or runtime, empty when unknown
	Bundle         string // absolute
	PodAnnotations map[string]string
	Version        string // of the OCI specification
	// Late is true when the container was started without the agent's word.
	Late bool
	// Privileged tells whether nothing is kept from the container; nil: not known.
	Privileged *bool
	// Sandbox tells that it is its pod's own (pause) container. A hook leaves it
	// unset: what it knows is annotations, and a policy must not lose a container
	// by those.
	Sandbox bool

	// Notes say what was mended or left out on the way, for the log.
	Notes []string
}

// Hints is what the caller knows beside the container's own papers.
type Hints struct {
	// Runtime is the low-level runtime that runs the hook (runc, crun), used
	// when the engine above it can not be told. Empty when unknown.
	Runtime string
	// LastCap is the number of the last capability that the kernel knows, from
	// ParseLastCap; 0: not known, and so is who is privileged.
	LastCap int
}

// NewRequest joins a state and a config.json to a request. Errors wrap
// ErrRequest.
func NewRequest(state State, config Config, hints Hints) (*Request, error) {
	if err := check(state, config); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	annotations := make(map[string]string, len(config.Annotations))
	maps.Copy(annotations, state.Annotations)
	maps.Copy(annotations, config.Annotations)

	engine := engineOf(state.Bundle, annotations)
	names := keysOf(engine)
	r := &Request{
		CgroupsPath: config.CgroupsPath, RootDir: config.Root, Annotations: annotations,
		Name: first(annotations, names.name), ID: state.ID, Image: first(annotations, names.image),
		PodName: first(annotations, names.podName), PodUID: first(annotations, names.podUID),
		PodNamespace: first(annotations, names.podNamespace), Mounts: config.Mounts,
		InitPid: uint32(state.Pid), Runtime: engine, Bundle: state.Bundle, Version: config.Version,
	}
	if r.RootDir != "" && !filepath.IsAbs(r.RootDir) {
		r.RootDir = filepath.Join(state.Bundle, r.RootDir)
	}
	if r.Runtime == "" {
		r.Runtime = hints.Runtime
	}
	if r.Version == "" {
		r.Version = state.Version
	}
	if hints.LastCap > 0 {
		is := privileged(config, hints.LastCap)
		r.Privileged = &is
	}
	r.addLabels(names)
	if state.Replaced || config.Replaced {
		r.Notes = append(r.Notes, "bytes that are no UTF-8 were replaced by U+FFFD")
	}
	return r, nil
}

// check refuses what the agent could not seal.
func check(state State, config Config) error {
	if state.Pid <= 0 {
		return fmt.Errorf("state has no init pid (pid %d): the hook must run at createRuntime", state.Pid)
	}
	if state.Pid > math.MaxInt32 {
		return fmt.Errorf("init pid %d is no pid", state.Pid)
	}
	return errors.Join(
		checkPath("linux.cgroupsPath", config.CgroupsPath),
		checkPath("root.path", config.Root))
}

// addLabels takes over labels and annotations that an engine keeps as JSON in
// an annotation. A pod's sandbox carries the pod's own, any other container its
// container's.
func (r *Request) addLabels(names keys) {
	labels := r.object(names.labels)
	if r.Annotations[names.sandbox] != "sandbox" {
		r.Labels = labels
		return
	}
	r.PodLabels = labels
	r.PodAnnotations = r.object(names.annotations)
}

// object decodes an annotation that holds a JSON object of strings. One that
// does not is left out with a note: labels only narrow what selects a container
// and are not worth the container's start.
func (r *Request) object(key string) map[string]string {
	text := r.Annotations[key]
	if key == "" || text == "" {
		return nil
	}
	var out map[string]string
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("annotation %s left out of the labels: %v", key, err))
		return nil
	}
	return out
}
