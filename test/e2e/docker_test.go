// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// dockers is a container as Docker makes it: its bundle tells neither name nor labels,
// and Docker's record is below the data root, as its root file system is.
type dockers struct {
	*testenv.Container
	record string
}

func newDockers(t *testing.T, hook *agentenv.Hook, args ...string) *dockers {
	t.Helper()
	base, id := testenv.Dir(t), hexID()
	root := filepath.Join(base, "data", "vfs", "dir", "layer")
	bundle := filepath.Join(base, "io.containerd.runtime.v2.task", "moby", id)
	record := filepath.Join(base, "data", "containers", id, "config.v2.json")
	err := errors.Join(os.CopyFS(root, os.DirFS(testenv.Rootfs(t))), os.MkdirAll(bundle, 0o700), os.MkdirAll(filepath.Dir(record), 0o700))
	c := testenv.Bundle(t, testenv.Spec{
		ID: id, Args: args, Hooks: hook.OCI(), Edit: func(s *specs.Spec) { s.Root.Path = root },
	})
	if err = errors.Join(err, os.Rename(filepath.Join(c.Dir, "config.json"), filepath.Join(bundle, "config.json"))); err != nil {
		t.Fatal(err)
	}
	c.Dir = bundle
	return &dockers{c, record}
}

// call writes the record: a new file in the place of the old one.
func (d *dockers) call(t *testing.T, name, service string) {
	t.Helper()
	text := fmt.Sprintf(`{"State":{"Running":false,"Pid":0},"ID":%q,"Config":{"Image":"shop/web:1","Labels":{"com.docker.compose.service":%q}},"Name":"/%s"}`,
		d.ID, service, name)
	if err := errors.Join(os.WriteFile(d.record+".tmp", []byte(text), 0o600), os.Rename(d.record+".tmp", d.record)); err != nil {
		t.Fatal(err)
	}
}

// killShadowIn is a policy for the containers with a label, or the name.
func killShadowIn(name, key, value string) string {
	return agentenv.PolicyFor(name, fmt.Sprintf("containerSelector: {matchLabels: {%s: %s}}", key, value),
		agentenv.Opens("[{matchArgs: [{args: [0], operator: Postfix, values: [/etc/shadow]}], matchActions: [{action: Sigkill}]}]")...)
}

// TestDockersNamesSelect selects by what Docker alone knows, from a container's first
// program on, and while it runs.
func TestDockersNamesSelect(t *testing.T) {
	testenv.LeakCheck(t)
	agentenv.Require(t)
	agent := agentenv.Start(t, testenv.AgentOptions{})
	hook, runc, mark := agent.Hook(t), testenv.NewRunc(t), agentenv.Mark()
	agent.Policy(t, killShadowIn(mark, "com.docker.compose.service", mark))
	for service, status := range map[string]int{mark: 137, "other": 0} {
		c := newDockers(t, hook, "/bin/cat", "/etc/shadow")
		c.call(t, "web", service)
		result := runc.Run(t.Context(), c.Container)
		if leaked := strings.Contains(result.Stdout+c.Stdout(), testenv.Secret); result.Code != status || leaked != (status == 0) {
			t.Errorf("service %s: want exit status %d: %s", service, status, result)
		}
	}

	c := newDockers(t, hook, "/bin/sleep", "1000")
	c.call(t, "before", "other")
	agent.Policy(t, killShadowIn(mark+"-name", "name", mark+"-after"))
	if result := runc.RunDetached(t.Context(), c.Container); result.Code != 0 {
		t.Fatal(result)
	}
	if known := agent.Container(t, c.ID); known.GetName() != "before" || known.GetImage() != "shop/web:1" || len(known.GetPolicies()) != 0 {
		t.Errorf("known as %v", known)
	}
	if result := runc.Exec(t.Context(), c.Container, "/bin/cat", "/etc/shadow"); result.Code != 0 {
		t.Errorf("before it has the name: %s", result)
	}
	c.call(t, mark+"-after", "other")
	testenv.Eventually(t, waitForEvent, "the container has its new name", func() error {
		if known := agent.Container(t, c.ID); known.GetName() != mark+"-after" || !slices.Equal(known.GetPolicies(), []string{mark + "-name"}) {
			return fmt.Errorf("the agent knows %v", known)
		}
		return nil
	})
	if result := runc.Exec(t.Context(), c.Container, "/bin/cat", "/etc/shadow"); result.Code != 137 {
		t.Errorf("with the name: %s", result)
	}

	unread := newDockers(t, hook, "/bin/true")
	if result := runc.Run(t.Context(), unread.Container); result.Code == 0 || !strings.Contains(hook.Lines(t), "name and labels are not known") {
		t.Errorf("started without its names: %s\n%s", result, hook.Lines(t))
	}
}
