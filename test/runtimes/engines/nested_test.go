// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// forbiddenFile is what the policies of these tests forbid: Docker and systemd read
// /etc/shadow for reasons of their own.
const forbiddenFile = "/tmp/forbidden"

// innerDocker is an entrypoint that starts a dockerd and in it, once it is released, a
// container that reads the forbidden file. It has the programs of the room.
const innerDocker = `export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/bin
mkdir -p /run /var/lib
dockerd --storage-driver=vfs --iptables=false --ip6tables=false --bridge=none >/tmp/dockerd.log 2>&1 &
until docker load --quiet --input /tmp/image.tar; do sleep 0.2; done >/tmp/load.log 2>&1
until [ -e /tmp/go ]; do sleep 0.1; done
docker run --network=none --volume=/tmp:/tmp ` + imageName + ` /bin/cat ` + forbiddenFile + ` >/tmp/read 2>/tmp/run.log
echo $? >/tmp/status.new
mv /tmp/status.new /tmp/status
kill %1
wait`

// TestDockerInDocker: what runs in a container of a container is held to the policies of
// the outer one, which nobody has told of the inner one.
func TestDockerInDocker(t *testing.T) {
	release(t)
	r, d := rigOf[*docker](t, dockerWays()[0])
	r.forbid(t)
	for _, mark := range []string{r.selected, agentenv.Mark()} {
		s := r.readerOf(t, mark, []string{"/bin/sh", "-c", innerDocker}, func(c container) string {
			return d.createWith(t, c, append(roomPrograms(), "--privileged")...)
		})
		if err := testenv.WriteImage(filepath.Join(s.shared, "image.tar"), imageName, testenv.Rootfs(t)); err != nil {
			t.Fatal(err)
		}
		s.inside(t)
	}
	r.killedOnce(t)
	held(t, "docker %s: a container that a container's own dockerd starts is held to the policies of the outer one", d.title())
}

// innerSystemd is a unit that reads the forbidden file.
const innerSystemd = `[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'cat /proc/self/cgroup >/tmp/cgroup; until [ -e /tmp/go ]; do sleep 0.1; done; ` +
	`cat ` + forbiddenFile + ` >/tmp/read; echo $? >/tmp/status.new; mv /tmp/status.new /tmp/status'
`

// TestSystemdInAContainer: services of a container's own systemd, each in a cgroup below
// the container's, are held to its policies.
func TestSystemdInAContainer(t *testing.T) {
	release(t)
	if !unified(t) {
		t.Skip("systemd starts only where cgroups are of version 2 alone, as in the unified rooms")
	}
	r, p := podmanRig(t)
	r.forbid(t)
	for _, mark := range []string{r.selected, agentenv.Mark()} {
		units := testenv.Dir(t)
		for name, text := range map[string]string{"default.target": "[Unit]\nDefaultDependencies=no\nWants=reader.service\n", "reader.service": innerSystemd} {
			if err := os.WriteFile(filepath.Join(units, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		s := r.readerOf(t, mark, []string{"/usr/lib/systemd/systemd"}, func(c container) string {
			return p.createWith(t, c, append(roomPrograms(), "--systemd=always", "--volume="+units+":/etc/systemd/system:ro")...)
		})
		s.inside(t)
		if cgroup, err := os.ReadFile(filepath.Join(s.shared, "cgroup")); err != nil || !strings.Contains(string(cgroup), "/system.slice/reader.service") {
			t.Errorf("the service was in %q: %v", cgroup, err)
		}
	}
	r.killedOnce(t)
	held(t, "podman %s: services of a container's own systemd are held to the container's policies", p.title())
}

// roomPrograms are flags that give a container the programs of the room.
func roomPrograms() []string {
	return []string{"--volume=/usr:/usr:ro", "--volume=/lib:/lib:ro", "--volume=/lib64:/lib64:ro"}
}

// forbid has the policy kill what reads the forbidden file in a selected container.
func (r *rig) forbid(t *testing.T) {
	t.Helper()
	r.agent.Policy(t, strings.ReplaceAll(agentenv.KillShadow(r.selected, r.selected), "/etc/shadow", forbiddenFile))
}

// killedOnce holds that the policy counts one kill.
func (r *rig) killedOnce(t *testing.T) {
	t.Helper()
	if n := r.agent.PolicyStatus(t, r.selected).GetStats().GetActionCounters().GetSignal(); n != 1 {
		t.Errorf("the policy counts %d kills", n)
	}
}

// readerOf creates a container in which something reads the forbidden file.
func (r *rig) readerOf(t *testing.T, mark string, args []string, create func(container) string) *subject {
	t.Helper()
	s := &subject{rig: r, container: container{name: agentenv.Mark(), mark: mark, shared: testenv.Dir(t), args: args}}
	if err := os.WriteFile(filepath.Join(s.shared, filepath.Base(forbiddenFile)), []byte(testenv.Secret), 0o644); err != nil {
		t.Fatal(err)
	}
	s.id = create(s.container)
	t.Cleanup(func() { r.remove(t, s.id) })
	return s
}

// inside starts the container, releases what reads the forbidden file in it, and holds
// that it was judged as the container's policies have it.
func (s *subject) inside(t *testing.T) {
	t.Helper()
	s.mustStart(t)
	before := s.armed(t, 0)
	s.release(t)
	wait(t, "what is inside has read the file, or not", func() error {
		_, err := os.Stat(filepath.Join(s.shared, "status"))
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, s.texts("*.log"))
		}
		return err
	})
	want, leaks := "0\n", true
	if s.mark == s.selected {
		want, leaks = fmt.Sprintln(killed), false
	}
	if status, read := s.texts("status"), s.texts("read"); status != want || strings.Contains(read, testenv.Secret) != leaks {
		t.Errorf("it read %q, with status %s\n%s", read, status, s.texts("*.log"))
	}
	if known := s.agent.Container(t, s.id); known.GetCgroupId() != before.GetCgroupId() || !slices.Equal(known.GetPolicies(), before.GetPolicies()) {
		t.Errorf("before %v, afterwards %v", before, known)
	}
}

// texts are what the container has left in files that match a pattern.
func (s *subject) texts(pattern string) string {
	var all strings.Builder
	files, _ := filepath.Glob(filepath.Join(s.shared, pattern))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err.Error()
		}
		all.Write(text)
	}
	return all.String()
}
