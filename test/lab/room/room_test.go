// SPDX-License-Identifier: Apache-2.0

//go:build linux

package room

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/test/testenv"
	"github.com/boltseal/boltseal/test/testenv/probe"
)

func TestMain(m *testing.M) {
	Main()
	testenv.Main(m)
}

// limit is how long a room of these tests may take, also while it waits for others.
const limit = 15 * time.Minute

// small is a room of busybox that runs a script; %[1]s in it is a name that nobody else
// on this machine has.
func small(t *testing.T, name, script string) *Room {
	t.Helper()
	testenv.Require(t, testenv.Containers())
	root := filepath.Join(testenv.Dir(t), "root")
	err := errors.Join(os.CopyFS(root, os.DirFS(testenv.Rootfs(t))), os.MkdirAll(filepath.Join(root, "var/run"), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	return &Room{
		Suite: "test", Root: root, Shared: map[string]string{testenv.Dir(t): "/shared"}, Env: []string{"MARK=" + name},
		Argv: []string{"sh", "-c", strings.ReplaceAll(script, "%[1]s", name)},
	}
}

// leaves is a script that leaves what engines do: a daemon without a parent, in cgroups
// of every hierarchy, which it has nested, and files at the root.
const leaves = `
for h in /sys/fs/cgroup /sys/fs/cgroup/*; do
	[ -e $h/cgroup.procs ] && mkdir -p $h/%[1]s/inner || continue
	made="$made $h/%[1]s/inner"
done
echo "made $made"
touch /etc/left
(setsid sh -c 'for c in "$@"; do echo $$ > $c/cgroup.procs; done; touch /shared/up; exec sleep 1000' daemon $made &)
until [ -e /shared/up ]; do sleep 0.05; done
`

// left lists what there is of a room.
func left(t *testing.T, r *Room, name string) (all []string) {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range files {
		// It can be gone at any time.
		if text, _ := os.ReadFile(file); strings.Contains(string(text), "MARK="+name) {
			all = append(all, file)
		}
	}
	roots, err := probe.CgroupRoots()
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil {
			all = append(all, filepath.Join(root, name))
		}
	}
	if _, err := os.Stat(filepath.Join(r.Root, "etc/left")); err == nil {
		all = append(all, "the root was written to")
	}
	mounts, err := probe.Mounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if strings.HasPrefix(m.Point, filepath.Join(os.TempDir(), "room")) {
			all = append(all, "mount "+m.Point)
		}
	}
	return all
}

func TestNothingIsLeft(t *testing.T) {
	testenv.LeakCheck(t)
	name := fmt.Sprintf("room-test-%d", os.Getpid())
	r := small(t, name, leaves+"echo room $BOLTSEAL_ROOM; exit 7")
	var output strings.Builder
	r.Output = &output
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	status, err := r.Run(ctx)
	if err != nil || status != 7 || !strings.Contains(output.String(), "room test\n") {
		t.Errorf("status %d, error %v, output %q", status, err, &output)
	}
	if !strings.Contains(output.String(), "/"+name+"/inner") {
		t.Errorf("no cgroup was made: %q", &output)
	}
	if all := left(t, r, name); len(all) > 0 {
		t.Errorf("left: %q", all)
	}
}

// TestInterruptedRoomLeavesNothing, and says that it was interrupted.
func TestInterruptedRoomLeavesNothing(t *testing.T) {
	testenv.LeakCheck(t)
	name := fmt.Sprintf("room-stop-%d", os.Getpid())
	r := small(t, name, leaves+"touch /shared/waits; exec sleep 1000")
	r.Output = &strings.Builder{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() {
		defer cancel()
		testenv.Eventually(t, limit, "the room's command waits", func() error {
			for shared := range r.Shared {
				if _, err := os.Stat(filepath.Join(shared, "waits")); err != nil {
					return err
				}
			}
			return nil
		})
	})
	_, err := r.Run(ctx)
	group.Wait()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if all := left(t, r, name); len(all) > 0 {
		t.Errorf("left: %q", all)
	}
}

// TestOtherChildrenLive: what this process starts while a room is in use is none of
// the room's.
func TestOtherChildrenLive(t *testing.T) {
	testenv.LeakCheck(t)
	name := fmt.Sprintf("room-child-%d", os.Getpid())
	r := small(t, name, "until [ -e /shared/go ]; do sleep 0.05; done")
	other := exec.CommandContext(t.Context(), "sleep", "1000")
	var group sync.WaitGroup
	group.Go(func() {
		for shared := range r.Shared {
			if err := errors.Join(other.Start(), os.WriteFile(filepath.Join(shared, "go"), nil, 0o644)); err != nil {
				t.Error(err)
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	status, err := r.Run(ctx)
	group.Wait()
	if err != nil || status != 0 {
		t.Errorf("status %d, error %v", status, err)
	}
	if err := other.Process.Signal(unix.SIGTERM); err != nil {
		t.Errorf("another child has ended: %v", err)
	}
	var exit *exec.ExitError
	if err := other.Wait(); !errors.As(err, &exit) || exit.String() != "signal: terminated" {
		t.Errorf("another child ended otherwise: %v", err)
	}
}

// TestFailuresAreTold: a command that is not there is an error of the room's, by its
// status and what it says, and a root that is not there one of Run's.
func TestFailuresAreTold(t *testing.T) {
	testenv.LeakCheck(t)
	r := small(t, "room-none", "")
	r.Argv = []string{"no-such-program"}
	var output strings.Builder
	r.Output = &output
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if status, err := r.Run(ctx); status != 125 || err != nil || !strings.Contains(output.String(), "no-such-program") {
		t.Errorf("status %d, error %v, output %q", status, err, &output)
	}
	r.Root = filepath.Join(r.Root, "nowhere")
	output.Reset()
	if status, err := r.Run(ctx); status != 125 || err != nil || !strings.Contains(output.String(), "mount") {
		t.Errorf("status %d, error %v, output %q", status, err, &output)
	}
	if _, err := os.Stat(r.Root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the root: %v", err)
	}
}
