// SPDX-License-Identifier: Apache-2.0

//go:build linux

package engines

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/agentenv"
)

// TestRestored: a container that is restored from a checkpoint has a new cgroup, sealed
// before its processes are in it, and is held to its policies as before.
func TestRestored(t *testing.T) {
	const suite = "sid"
	if here := release(t); here != suite {
		t.Skipf("runc and criu of %s are known to checkpoint and restore here; those of %s have not been tried", suite, here)
	}
	needs(t, "criu")
	for _, by := range []string{byBundle, byWrapper} {
		t.Run(by, func(t *testing.T) {
			i := slices.IndexFunc(ociWays(), func(w way) bool { return w.engine == "runc" && w.by == by })
			r, o := rigOf[*oci](t, ociWays()[i])
			for _, mark := range []string{r.selected, agentenv.Mark()} {
				o.restored(t, r, mark)
			}
			held(t, "%s %s: restored from a checkpoint, sealed again and held to its policies", r.way, r.title())
		})
	}
}

func (o *oci) restored(t *testing.T, r *rig, mark string) {
	t.Helper()
	// criu carries no open file of another mount over: nothing is written to standard output.
	s := r.made(t, mark, "/bin/sh", "-c", "until [ -e /tmp/go ]; do sleep 0.1; done; cat /etc/shadow >/tmp/read; echo $? >/tmp/status; sleep 1000")
	b := o.bundle(s.id)
	// The container would keep a pipe of this process open.
	silently := func(args ...string) error {
		return exec.Command(b.path, append([]string{"--root", o.root}, args...)...).Run()
	}
	if err := silently("run", "--detach", "--bundle", b.Dir, s.id); err != nil {
		t.Fatalf("run: %v\n%s", err, r.log())
	}
	before := s.armed(t, 0)
	image := filepath.Join(testenv.Dir(t), "image")
	for _, args := range [][]string{
		{"checkpoint", "--image-path", image, "--work-path", image, s.id},
		{"restore", "--detach", "--image-path", image, "--work-path", image, "--bundle", b.Dir, s.id},
	} {
		if err := silently(args...); err != nil {
			text, _ := os.ReadFile(filepath.Join(image, map[string]string{"checkpoint": "dump", "restore": "restore"}[args[0]]+".log"))
			t.Fatalf("%s: %v\n%s\n%s", args[0], err, text, r.log())
		}
	}
	var policies []string
	if mark == r.selected {
		policies = []string{mark}
	}
	wait(t, "the restored container is known", func() error {
		known := r.agent.Container(t, s.id)
		if known.GetCgroupId() == before.GetCgroupId() || known.GetState() == boltseal.ContainerState_CONTAINER_STATE_LATE ||
			known.GetSealedNs() <= before.GetArmedNs() || known.GetSealedNs() >= known.GetFirstTaskNs() || !slices.Equal(known.GetPolicies(), policies) {
			return fmt.Errorf("the agent knows %v, and before %v", known, before)
		}
		return nil
	})
	s.judged(t, "exec", s.exec(t, s.id, "/bin/cat", "/etc/shadow"))
	s.release(t)
	var status, read []byte
	wait(t, "its process has gone on", func() (err error) {
		if status, err = os.ReadFile(filepath.Join(s.shared, "status")); err == nil && len(status) == 0 {
			err = errors.New("nothing is written yet")
		}
		return err
	})
	read, err := os.ReadFile(filepath.Join(s.shared, "read"))
	if err != nil {
		t.Fatal(err)
	}
	want, leaks := "0\n", true
	if mark == r.selected {
		want, leaks = fmt.Sprintln(killed), false
	}
	if string(status) != want || strings.Contains(string(read), testenv.Secret) != leaks {
		t.Errorf("the restored process read %q, with status %s", read, status)
	}
}
