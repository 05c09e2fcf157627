// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/install/jsonedit"
)

// baseSpec drafts a spec with the hook, made of the one that the runtime has or
// else of containerd's default, and returns its path. Runtimes that have none of
// their own share one.
func (e containerd) baseSpec(ctx context.Context, h *host, d *draft, runtime, from string) (string, error) {
	file := containerdBaseSpec
	if from != "" && !strings.HasPrefix(from, strings.TrimSuffix(containerdBaseSpec, ".json")) {
		file = strings.TrimSuffix(containerdBaseSpec, ".json") + "-" + path.Base(runtime) + ".json"
	} else if from != "" { // made already: it is kept, since what it was made of is not known
		file = from
	}
	text, err := e.specText(ctx, h, d, from)
	if err != nil {
		return "", err
	}
	hook, err := h.ociHook(d)
	if err != nil {
		return "", err
	}
	with, err := withHook(text, hook)
	if err != nil {
		return "", fmt.Errorf("base spec of %s: %w", runtime, err)
	}
	return file, d.file(e.name(), file, with, 0o644)
}

func (containerd) specText(ctx context.Context, h *host, d *draft, from string) ([]byte, error) {
	if from != "" {
		text, err := d.text(from)
		if err == nil && text == nil {
			err = fmt.Errorf("%s: base_runtime_spec: is not there", from)
		}
		return text, err
	}
	ctr := h.look("ctr")
	if h.run == nil || ctr == "" {
		return nil, errors.New("ctr oci spec is what a base spec is made of: it needs ctr and a host that runs")
	}
	return h.run(ctx, ctr, "oci", "spec")
}

// withHook adds the hook to a spec, unless it has it.
func withHook(spec []byte, hook ociHook) ([]byte, error) {
	raw, found, err := jsonedit.Get(spec, "hooks", "createRuntime")
	if err != nil {
		return nil, err
	}
	var all []json.RawMessage
	if found {
		if err := json.Unmarshal(raw, &all); err != nil {
			return nil, fmt.Errorf("hooks.createRuntime: %w", err)
		}
	}
	want, err := json.Marshal(hook)
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		if same(one, want) {
			return spec, nil
		}
	}
	list, err := json.Marshal(append(all, want))
	if err != nil {
		return nil, err
	}
	return jsonedit.Set(spec, list, "hooks", "createRuntime")
}
