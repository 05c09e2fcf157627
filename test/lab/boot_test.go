// SPDX-License-Identifier: Apache-2.0

//go:build linux && lab

package lab

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/boltseal/boltseal/test/lab/job"
)

// TestMain boots real machines: make test-lab runs these tests, with the tag lab.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bootKernel is the kernel that these tests boot: the lab is tested here, and
// the kernels are tested by its use.
func bootKernel(t *testing.T) Kernel {
	t.Helper()
	k, err := KernelByName("6.1")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func openLab(t *testing.T) *Lab {
	t.Helper()
	l, err := Open(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// shell is a job of shell scripts.
func shell(scripts ...string) job.Job {
	var todo job.Job
	for _, script := range scripts {
		todo.Steps = append(todo.Steps, job.Step{Argv: []string{"sh", "-c", script}, Env: []string{"COLOUR=blue"}})
	}
	return todo
}

// listener collects the output of steps.
type listener struct {
	mu   sync.Mutex
	text map[int]string
}

func (l *listener) hear(e job.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text == nil {
		l.text = map[int]string{}
	}
	l.text[e.Step] += string(e.Output)
}

// TestMachine proves what Run promises of a machine that does its job.
func TestMachine(t *testing.T) {
	l := openLab(t)
	in := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(in, []byte("from the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	disk, err := l.Pack(t.Context(), File{Host: in, Guest: "deep/in"})
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	var heard listener
	result, err := l.Run(t.Context(), Machine{Kernel: bootKernel(t), LSM: LSMWithBPF, Disk: disk, OutDir: out, CPUs: 2}, shell(
		`cat deep/in; echo " $COLOUR"; mkdir /out/a; echo back >/out/a/b; exit 7`,
		`kill -9 $$`,
		`no-such-command`,
		`grep -c processor /proc/cpuinfo; uname -r`,
		`set -e
		 [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; [ "$(stat -f -c %T /sys/fs/bpf)" = bpf_fs ]
		 [ "$(stat -f -c %T /sys/kernel/tracing)" = tracefs ]; grep -q bpf /sys/kernel/security/lsm
		 grep -q memory /sys/fs/cgroup/cgroup.subtree_control; grep -q pids /sys/fs/cgroup/cgroup.subtree_control
		 grep -qw overlay /proc/filesystems; ip link show lo | grep -q UP; touch /usr/written /lab/not 2>/dev/null && exit 1; test -e /usr/written`,
		// What a command leaves running may not hold the machine up.
		`sleep 1000 & echo left`,
	), heard.hear)
	if err != nil {
		t.Fatal(err)
	}
	var statuses []int
	for _, step := range result.Steps {
		statuses = append(statuses, step.Status)
	}
	if want := []int{7, 137, 127, 0, 0, 0}; !equal(statuses, want) {
		t.Errorf("statuses %v, want %v; output: %v", statuses, want, heard.text)
	}
	if heard.text[0] != "from the host blue\n" || !strings.HasPrefix(heard.text[3], "2\n6.1.") || heard.text[5] != "left\n" {
		t.Errorf("output: %v", heard.text)
	}
	if back, err := os.ReadFile(filepath.Join(out, "a", "b")); err != nil || string(back) != "back\n" {
		t.Errorf("file of the guest: %q, %v", back, err)
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestFaultsAreTold breaks machines on purpose: the error names the cause, and
// comes in time.
func TestFaultsAreTold(t *testing.T) {
	const spin = `echo -1 >/proc/sys/kernel/sched_rt_runtime_us
		for cpu in 0 1; do chrt -f 99 taskset -c $cpu sh -c 'while :; do :; done' & done; wait`
	for _, test := range []struct {
		name    string
		machine Machine
		script  string
		want    error
		says    []string
		within  time.Duration
	}{
		{"hang", Machine{Silence: 10 * time.Second}, spin, ErrHangs, []string{"no sign of life for 10s", "in step 1", "chrt"}, time.Minute},
		{"panic", Machine{}, `echo c >/proc/sysrq-trigger; sleep 100`, ErrDied, []string{"in step 1", "sysrq"}, time.Minute},
		{"too slow", Machine{Timeout: 20 * time.Second}, `sleep 1000`, ErrTimeout, []string{"longer than 20s", "in step 1", "sleep 1000"}, time.Minute},
		{"no init", Machine{Params: "rdinit=/none root=/none"}, `true`, ErrDied, []string{"while it booted", "Kernel panic"}, 2 * time.Minute},
		{"no memory", Machine{MemoryMB: 48}, `true`, nil, []string{"while it booted"}, 3 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := openLab(t)
			m := test.machine
			m.Kernel = bootKernel(t)
			begin := time.Now()
			_, err := l.Run(t.Context(), m, shell(test.script), nil)
			if took := time.Since(begin); took > test.within {
				t.Errorf("took %v", took)
			}
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Fatalf("error is %v, want %v", err, test.want)
			}
			for _, words := range test.says {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("%q is not in: %v", words, err)
				}
			}
		})
	}
}

// TestOffline boots without any network: what is cached is enough.
func TestOffline(t *testing.T) {
	l := openLab(t)
	if err := l.Fetch(t.Context(), bootKernel(t)); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(t.TempDir(), "lab")
	if err := Build(t.Context(), binary, "./test/lab/cmd/lab"); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "unshare", "--net", binary, "run", "--kernel", bootKernel(t).Name, "--", "echo alive").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "alive\n") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestNoNetworkIsTold has nothing cached and no network: the error says so.
func TestNoNetworkIsTold(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "lab")
	if err := Build(t.Context(), binary, "./test/lab/cmd/lab"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", binary, "run", "--kernel", bootKernel(t).Name, "--", "true")
	cmd.Env = append(os.Environ(), CacheVariable+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Failed to fetch") {
		t.Errorf("%v: %s", err, out)
	}
}
