// SPDX-License-Identifier: Apache-2.0

package canary

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Docker starts canaries with docker run, from an image that is made of the canary
// alone and removed with it.
type Docker struct{ Path string }

// Name is "docker".
func (Docker) Name() string { return "docker" }

// TakesHook is false: only its administrator can tell docker of a hook.
func (Docker) TakesHook() bool { return false }

// Bundled is false: an administrator registers hooks.
func (Docker) Bundled() bool { return false }

// Probe asks the daemon for its version.
func (r Docker) Probe(ctx context.Context) (string, error) {
	text, err := call(ctx, r.Path, "version", "--format", "docker {{.Server.Version}}, client {{.Client.Version}}")
	return firstLine(text), err
}

func (r Docker) start(ctx context.Context, s *Scene, c Canary) (*process, error) {
	if c.Hook != nil {
		return nil, fmt.Errorf("docker has no hooks of one container")
	}
	image, id := c.Name+":latest", filepath.Join(s.work(c), "id")
	archive := filepath.Join(s.work(c), "image.tar")
	if err := s.archive(archive); err != nil {
		return nil, err
	}
	remove := func(ctx context.Context) error { return r.remove(ctx, c.Name, image) }
	ready := &process{done: make(chan struct{}), remove: remove}
	close(ready.done)
	// An import that is cut short would leave an image that nobody has the name of.
	if _, err := call(context.WithoutCancel(ctx), r.Path, "import", archive, image); err != nil {
		return ready, err
	}
	if err := os.Remove(archive); err != nil {
		return ready, err
	}
	p, err := foreground(s, c, r.Path, append([]string{
		"run", "--rm", "--name", c.Name, "--cidfile", id, "--network=none", "--log-driver=none",
		"--security-opt", "label=disable", "--security-opt", "apparmor=unconfined",
		"--label", MarkKey + "=" + c.Mark, "--volume", s.shared(c) + ":" + sharedDir + ":ro", image,
	}, s.args(c)...)...)
	if err != nil {
		return ready, err
	}
	p.id, p.remove = idFile(id), remove
	return p, nil
}

// remove removes the container, then the image, when they are there.
func (r Docker) remove(ctx context.Context, name, image string) error {
	left, err := call(ctx, r.Path, "ps", "--all", "--quiet", "--filter", "name=^/"+name+"$")
	if err == nil && left != "" {
		_, err = call(ctx, r.Path, "rm", "--force", name)
	}
	if err != nil {
		return err
	}
	left, err = call(ctx, r.Path, "image", "ls", "--quiet", image)
	if err == nil && left != "" {
		_, err = call(ctx, r.Path, "image", "rm", "--force", image)
	}
	return err
}
