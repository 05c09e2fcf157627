// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/cmd/boltseal/internal/doctor/canary"
	"github.com/boltseal/boltseal/api/v1/boltseal"
	"github.com/boltseal/boltseal/api/v1/tetragon"
)

// TestChecks breaks one thing after the other, and nothing first.
func TestChecks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, check string
		breaks      func(t *testing.T, dir string, o *Options, f *fakeAgent)
		verdict     Verdict
		want        string // in what was found
	}{
		{"agent", "agent", nil, OK, "pid 4711"},
		{"no agent", "agent", func(_ *testing.T, _ string, _ *Options, f *fakeAgent) { f.err = errors.New("away") }, Fail, "away"},
		{"health", "agent health", nil, OK, "running"},
		{"ill", "agent health", func(_ *testing.T, _ string, _ *Options, f *fakeAgent) {
			f.health = tetragon.HealthStatusResult_HEALTH_STATUS_ERROR
		}, Fail, "ring reader stopped"},
		{"lost events", "agent health", func(_ *testing.T, _ string, _ *Options, f *fakeAgent) { f.status.EventsLost = new(uint64(7)) }, Warn, "7 events"},
		{"version", "agent version", nil, OK, testVersion},
		{"old agent", "agent version", func(_ *testing.T, _ string, _ *Options, f *fakeAgent) { f.status.Version = "v1.2.2" }, Fail, "v1.2.2"},
		{"nameless agent", "agent version", func(_ *testing.T, _ string, _ *Options, f *fakeAgent) { f.status.Version = "unknown" }, Warn, "cannot be compared"},
		{"kernel", "kernel", nil, OK, "Linux"},
		{"other kernel", "kernel", func(_ *testing.T, _ string, _ *Options, f *fakeAgent) { f.status.KernelRelease = "2.6.18" }, Fail, "another machine"},
		{"mechanisms", "kernel mechanisms", nil, OK, "all 8 work, and deny by lsm"},
		{"one missing", "kernel mechanisms", func(_ *testing.T, _ string, _ *Options, f *fakeAgent) {
			f.status.Features = append(f.status.Features, &boltseal.Feature{Name: "uprobe"})
		}, OK, "missing: uprobe"},
		{"none denies", "kernel mechanisms", func(_ *testing.T, _ string, _ *Options, f *fakeAgent) { f.status.Features = available(needed()...) }, Warn, "nothing here can deny"},
		{"none kills", "kernel mechanisms", func(_ *testing.T, _ string, _ *Options, f *fakeAgent) {
			f.status.Features = append(available("lsm"), &boltseal.Feature{Name: "signal", Reason: "forbidden"})
		}, Fail, "signal does not work: forbidden"},
		{"no agent to try", "kernel mechanisms", func(_ *testing.T, _ string, _ *Options, f *fakeAgent) { f.err = errors.New("away") }, NotProven, "did not answer"},
		{"no btf", "kernel btf", func(_ *testing.T, dir string, o *Options, _ *fakeAgent) { o.Host.BTF = dir + "/none" }, Fail, "no such file"},
		{"btf", "kernel btf", func(_ *testing.T, dir string, o *Options, _ *fakeAgent) { o.Host.BTF = dir }, OK, ""},
		{"no cgroups", "cgroups", func(_ *testing.T, dir string, o *Options, _ *fakeAgent) { o.Host.Cgroups = []string{dir} }, Fail, "no hierarchy of version 2"},
		{"agent's cgroups", "cgroups", func(_ *testing.T, dir string, _ *Options, f *fakeAgent) { f.status.CgroupRoot = dir }, Fail, "no hierarchy"},
		{"no bpffs", "bpffs", func(_ *testing.T, dir string, o *Options, _ *fakeAgent) { o.Host.BPF = dir }, Warn, "not mounted"},
		{"socket", "agent socket", nil, OK, "mode 0600"},
		{"open socket", "agent socket", func(t *testing.T, dir string, _ *Options, _ *fakeAgent) { chmod(t, dir+"/s", 0o666) }, Fail, "others than root"},
		{"open directory", "agent socket", func(t *testing.T, dir string, _ *Options, _ *fakeAgent) { chmod(t, dir, 0o777) }, Fail, "others than root"},
		{"no socket", "agent socket", func(t *testing.T, dir string, _ *Options, _ *fakeAgent) { remove(t, dir+"/s") }, Fail, "no such file"},
		{"hook", "hook", nil, OK, "/hook"},
		{"no hook", "hook", func(t *testing.T, dir string, _ *Options, _ *fakeAgent) { remove(t, dir+"/hook") }, Fail, "no such file"},
		{"hook not executable", "hook", func(t *testing.T, dir string, _ *Options, _ *fakeAgent) { chmod(t, dir+"/hook", 0o600) }, Fail, "is no program"},
		{"hook of others", "hook", func(t *testing.T, dir string, _ *Options, _ *fakeAgent) { chmod(t, dir+"/hook", 0o777) }, Fail, "others than root"},
		{"other program", "hook", func(t *testing.T, dir string, _ *Options, _ *fakeAgent) { script(t, dir+"/hook", "echo ls 9") }, Fail, "not boltseal-hook"},
		{"broken hook", "hook", func(t *testing.T, dir string, _ *Options, _ *fakeAgent) { script(t, dir+"/hook", "exit 3") }, Fail, "exit status 3"},
		{"hook's version", "hook version", nil, OK, testVersion},
		{"old hook", "hook version", func(t *testing.T, dir string, _ *Options, _ *fakeAgent) {
			script(t, dir+"/hook", "echo boltseal-hook v0")
		}, Fail, "v0"},
		{"settings", "hook settings", nil, OK, "within 2s"},
		{"broken settings", "hook settings", settingsOf(`{"server": ""}`), Fail, "unknown field"},
		{"other agent", "hook settings", settingsOf(`{}`), Fail, "the hook asks the agent at unix:///run/boltseal/boltseal.sock"},
		{"blocks", "hook fail policy", nil, OK, "does not start"},
		{"allows", "hook fail policy", settingsOf(`{"fail_policy": {"default": "allow"}}`), Warn, "starts unsealed"},
		{"allows after boot", "hook fail policy", settingsOf(`{"fail_policy": {"not_since_boot": "allow"}}`), Warn, "until the agent has been up"},
		{"allows some", "hook fail policy", settingsOf(`{"fail_policy": {"rules": [{"match": {"name": ["a"]}, "policy": "allow"}]}}`), OK, "1 of 1 rules"},
		{"no spool", "hook spool", nil, OK, "is made when it is needed"},
		{"empty spool", "hook spool", func(t *testing.T, dir string, _ *Options, _ *fakeAgent) { spoolOf(t, dir) }, OK, "is empty"},
		{"waiting", "hook spool", func(t *testing.T, dir string, _ *Options, _ *fakeAgent) { spoolOf(t, dir, "id-a.pb", "id-b.pb") }, Warn, "2 containers"},
		{"open spool", "hook spool", func(t *testing.T, dir string, _ *Options, _ *fakeAgent) { chmod(t, spoolOf(t, dir), 0o777) }, Fail, "others than root"},
		{"nothing to prove", "runtimes", nil, NotProven, "no container runtime"},
		{"absent", "podman", func(_ *testing.T, _ string, o *Options, _ *fakeAgent) { o.Only = []string{"podman"} }, Fail, "not found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			o, f := options(t, dir)
			listen(t, filepath.Join(dir, "s"))
			if test.breaks != nil {
				test.breaks(t, dir, &o, f)
			}
			report, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			got := find(t, report, test.check)
			if got.Verdict != test.verdict || !strings.Contains(got.Found, test.want) {
				t.Errorf("%+v, want %s ...%s", got, test.verdict, test.want)
			}
			if got.Verdict == Fail && got.Do == "" && !strings.Contains(got.Found, "no such file") {
				t.Errorf("nothing to do about %+v", got)
			}
			failed := 0
			for _, c := range report.Checks {
				if c.Verdict == Fail {
					failed++
				}
			}
			if report.Failed != failed {
				t.Errorf("counted %d failed, there are %d", report.Failed, failed)
			}
		})
	}
}

func listen(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	chmod(t, path, 0o600)
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func settingsOf(text string) func(*testing.T, string, *Options, *fakeAgent) {
	return func(t *testing.T, _ string, o *Options, _ *fakeAgent) {
		t.Helper()
		if err := os.WriteFile(o.HookConfig, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func spoolOf(t *testing.T, dir string, files ...string) string {
	t.Helper()
	dir = filepath.Join(dir, "spool")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestJudgeSeal breaks what is known of a container.
func TestJudgeSeal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		breaks  func(c *boltseal.Container)
		verdict Verdict
		want    string
	}{
		{"well", func(*boltseal.Container) {}, OK, "first task +0.100 ms, first exec +2.000 ms"},
		{"late", func(c *boltseal.Container) { c.State = boltseal.ContainerState_CONTAINER_STATE_LATE }, Fail, "sealed late"},
		{"unsealed", func(c *boltseal.Container) { c.State = boltseal.ContainerState_CONTAINER_STATE_UNSEALED }, Fail, "says that it is unsealed"},
		{"never", func(c *boltseal.Container) { c.SealedNs = 0 }, Fail, "not sealed before"},
		{"after its entrypoint", func(c *boltseal.Container) { c.SealedNs = c.ArmedNs + 1 }, Fail, "not sealed before"},
		{"after its first task", func(c *boltseal.Container) { c.SealedNs = c.FirstTaskNs + 1 }, Warn, "not before the first task"},
		{"another name", func(c *boltseal.Container) { c.Name = "x" }, Fail, `known by the name "x"`},
		{"no labels", func(c *boltseal.Container) { c.Annotations = nil }, Fail, "without its labels"},
		{"labels", func(c *boltseal.Container) { c.Labels, c.Annotations = c.Annotations, nil }, OK, "by its name"},
	} {
		c := sealedWell("n-1")
		test.breaks(c)
		if got := judgeSeal(c, "n-1", "n", "n-1"); got.verdict != test.verdict || !strings.Contains(got.found, test.want) {
			t.Errorf("%s: %+v, want %s ...%s", test.name, got, test.verdict, test.want)
		}
	}
	if got := judgeSeal(nil, "n-1", "n", "n-1"); got.verdict != Fail {
		t.Errorf("unknown: %+v", got)
	}
}

// fakeRunc is a runc that runs the canary without a container: it ends as it is
// told to, and refuses as a hook that finds no agent.
const fakeRunc = `case "$1" in --version) echo "runc version 9"; exit;; esac
dir=$5
if grep -q no-agent "$dir/config.json"; then echo 'boltseal-hook: container "x" not started: no agent' >&2; exit 1; fi
read -r line < "$dir/shared/go"
if grep -q '/boltseal-doctor/kill"' "$dir/config.json"; then exit $KILL; fi
exit $DENY
`

// TestProof proves a runtime that does all it should, and then not, one at a time.
func TestProof(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("canaries need root")
	}
	for _, test := range []struct {
		name, check string
		breaks      func(runc *string, f *fakeAgent)
		verdict     Verdict
		want        string
	}{
		{"sealed", "runc sealed", nil, OK, "by the hook, known by its name"},
		{"unknown", "runc sealed", func(_ *string, f *fakeAgent) { f.knows = nil }, Fail, "does not know it"},
		{"unknown", "runc kills", func(_ *string, f *fakeAgent) { f.knows = nil }, NotProven, "not known"},
		{"kills", "runc kills", nil, OK, "exit status 137"},
		{"lives", "runc kills", func(runc *string, _ *fakeAgent) { *runc = strings.ReplaceAll(*runc, "$KILL", "0") }, Fail, "went through"},
		{"no event", "runc kills", func(_ *string, f *fakeAgent) { f.silent = true }, Fail, "no event"},
		{"event of a report", "runc kills", func(_ *string, f *fakeAgent) { f.wrong = true }, Fail, "the event says KPROBE_ACTION_POST"},
		{"kill refused", "runc kills", func(_ *string, f *fakeAgent) { f.refuses = "Sigkill" }, NotProven, "did not take the policy"},
		{"denies", "runc denies", nil, OK, "EACCES"},
		{"another way", "runc denies", func(_ *string, f *fakeAgent) { f.refuses = "lsmhooks" }, OK, "EACCES"},
		{"cannot deny", "runc denies", func(_ *string, f *fakeAgent) { f.refuses = "Override" }, NotProven, "this kernel; cannot"},
		{"does not deny", "runc denies", func(runc *string, _ *fakeAgent) { *runc = strings.ReplaceAll(*runc, "$DENY", "0") }, Fail, "went through"},
		{"away", "runc agent away", nil, OK, "the agent was not stopped"},
		{"away, told by the log alone", "runc agent away", func(runc *string, _ *fakeAgent) {
			*runc = strings.ReplaceAll(*runc, "echo 'boltseal-hook: container \"x\" not started: no agent' >&2",
				`echo '{"decision":"block","reason":"no agent"}' >"$dir/../away-runc/no-agent.log"`)
		}, OK, "refused by the hook"},
		{"starts without", "runc agent away", func(runc *string, _ *fakeAgent) { *runc = strings.ReplaceAll(*runc, "no-agent", "never") }, Fail, "must not"},
		{"another reason", "runc agent away", func(runc *string, _ *fakeAgent) { *runc = strings.ReplaceAll(*runc, "boltseal-hook: ", "") }, NotProven, "not for the hook's answer"},
		{"hook fails", "runc sealed", func(runc *string, _ *fakeAgent) {
			*runc = "[ \"$1\" = --version ] || { echo error running hook >&2; exit 1; }"
		}, Fail, "error running hook"},
		{"runtime fails", "runc sealed", func(runc *string, _ *fakeAgent) { *runc = "[ \"$1\" = --version ] || { echo no space >&2; exit 1; }" }, NotProven, "no space"},
		{"runtime away", "runc", func(runc *string, _ *fakeAgent) { *runc = "exit 1" }, NotProven, "does not answer"},
		{"agent away", "runc sealed", func(_ *string, f *fakeAgent) { f.err = errors.New("away") }, NotProven, "no agent"},
		{"agent away", "runc agent away", func(_ *string, f *fakeAgent) { f.err = errors.New("away") }, OK, "refused"},
	} {
		t.Run(test.name+" "+test.check, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			o, f := options(t, dir)
			text := fakeRunc
			if test.breaks != nil {
				test.breaks(&text, f)
			}
			text = strings.NewReplacer("$KILL", "137", "$DENY", "13").Replace(text)
			o.Runtimes = []canary.Runtime{canary.OCI{Program: "runc", Path: script(t, filepath.Join(dir, "runc"), text)}}
			report, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if got := find(t, report, test.check); got.Verdict != test.verdict || !strings.Contains(got.Found, test.want) {
				t.Errorf("%+v, want %s ...%s", got, test.verdict, test.want)
			}
			if len(f.policies) > 0 {
				t.Errorf("left behind: policies %q", f.policies)
			}
		})
	}
}

// registrations answers the same for all.
type registrations struct {
	is  Registration
	err error
}

func (r registrations) Registration(context.Context, string) (Registration, error) {
	return r.is, r.err
}

func TestRegistered(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		from    registrations
		sealed  bool
		verdict Verdict
	}{
		{registrations{is: Registration{Registered: true, How: "a hook"}}, true, OK},
		{registrations{is: Registration{Registered: true, How: "a hook"}}, false, OK},
		{registrations{is: Registration{How: "no hook", Do: "install"}}, false, Fail},
		{registrations{is: Registration{How: "no hook", Do: "install"}}, true, Warn},
		{registrations{err: errors.New("unreadable")}, false, NotProven},
	} {
		p := prover{run: &run{Options: Options{Registrations: test.from}}, runtime: canary.Podman{}, sealed: test.sealed}
		p.registered(t.Context())
		if got := find(t, p.report, "podman registered"); got.Verdict != test.verdict {
			t.Errorf("%+v, want %s", got, test.verdict)
		}
	}
}
