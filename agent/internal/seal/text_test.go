// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/boltseal/boltseal/agent/internal/event"
	"github.com/boltseal/boltseal/bpf"
)

// The environment is told to who asks for it.
func TestEnvironment(t *testing.T) {
	for name, asked := range map[string]bool{"asked for": true, "not asked for": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(o *Options) { o.Environment = asked })
			in, slot := r.expected("c")
			cmd := in.Born(exec.CommandContext(t.Context(), busybox(t), "true"))
			cmd.Env = []string{"A=1", "B=x=y", "C=", "D=\xff"}
			p := start(t, cmd)
			e := next(r, slot, execOf(p.Process.Pid))
			want, size := cmd.Env, uint32(len("A=1 B=x=y C= D=. "))
			if !asked {
				want, size = nil, 0
			}
			if !slices.Equal(e.Env, want) || e.EnvSize != size || e.Data != 0 || e.Flags != 0 {
				t.Errorf("environment %q of %d bytes, flags %#x", e.Env, e.EnvSize, e.Flags)
			}
			_ = p.Wait()
		})
	}
}

// textOf reads events up to the exec of a process and puts together what came before.
func textOf(r *rig, slot uint32, pid int) (texts [2]string, e *event.Exec) {
	r.t.Helper()
	var parts []*event.Data
	e, _ = next(r, slot, func(e event.Event) bool {
		switch e := e.(type) {
		case *event.Data:
			parts = append(parts, e)
		case *event.Exec:
			return int(e.Tgid) == pid
		}
		return false
	}).(*event.Exec)
	texts = [2]string{strings.Join(e.Args, "\x00"), strings.Join(e.Env, "\x00")}
	for _, d := range parts {
		if d.ID != e.Data || d.Tid != e.Tid {
			r.t.Errorf("part %d of thread %d before event %d of %d", d.ID, d.Tid, e.Data, e.Tid)
		}
		if len(texts[d.String]) == d.Offset-1 {
			texts[d.String] += "\x00"
		}
		if len(texts[d.String]) == d.Offset {
			texts[d.String] += d.Bytes
		}
	}
	return texts, e
}

// Arguments and environment can be as long as the kernel takes them.
func TestLongTexts(t *testing.T) {
	long := func(name string, bytes int) (list []string) {
		for i := 0; bytes > 0; i++ {
			s := fmt.Sprintf("%s%d=%s", name, i, strings.Repeat("x", min(bytes, 100_000)))
			list, bytes = append(list, s), bytes-len(s)-1
		}
		return list
	}
	r := newRig(t, func(o *Options) { o.Environment, o.RingBytes = true, 16<<20 })
	for name, c := range map[string]struct {
		args, env []string
	}{
		"just in the event":     {args: []string{strings.Repeat("x", 4095-len("true  "))}},
		"one byte more":         {args: []string{strings.Repeat("x", 4096-len("true  "))}},
		"cut between arguments": {args: []string{strings.Repeat("x", 4095-len("true  ")), "y"}},
		"more than a part":      {args: long("a", 50_000), env: long("E", 20_000)},
		"two megabytes":         {args: long("a", 1_500_000), env: long("E", 500_000)},
	} {
		t.Run(name, func(t *testing.T) {
			in, slot := r.expected(strings.ReplaceAll(name, " ", "-"))
			cmd := in.Born(exec.CommandContext(t.Context(), busybox(t)))
			cmd.Args = append([]string{"true"}, c.args...)
			if cmd.Env = c.env; cmd.Env == nil {
				cmd.Env = []string{}
			}
			p := start(t, cmd)
			texts, e := textOf(r, slot, p.Process.Pid)
			want, env := strings.Join(cmd.Args, "\x00")+"\x00", ""
			for _, variable := range cmd.Env {
				env += variable + "\x00"
			}
			if int(e.ArgsSize) != len(want) || int(e.EnvSize) != len(env) || (e.Data != 0) != (len(want) > 4095 || len(env) > 4095) {
				t.Errorf("sizes %d, %d, want %d, %d; parts are named %d", e.ArgsSize, e.EnvSize, len(want), len(env), e.Data)
			}
			if texts[0] != want[:len(want)-1] && texts[0] != want || texts[1] != strings.TrimSuffix(env, "\x00") && texts[1] != env || e.Flags != 0 {
				t.Errorf("%d bytes of arguments, %d of environment, flags %#x; want %d, %d", len(texts[0]), len(texts[1]), e.Flags, len(want), len(env))
			}
			_ = p.Wait()
		})
	}
}

// Long arguments are told of in what anybody may use of the ring, and nothing is lost.
func TestLongTextsGiveWay(t *testing.T) {
	r := newRig(t, nil)
	in, slot := r.expected("c")
	cmd := in.Born(exec.CommandContext(t.Context(), busybox(t)))
	cmd.Args = []string{"true"}
	for range 15 {
		cmd.Args = append(cmd.Args, strings.Repeat("x", 100_000))
	}
	p := start(t, cmd)
	_ = p.Wait() // nothing is read before
	texts, e := textOf(r, slot, p.Process.Pid)
	if e.Flags != bpf.WireExecFlagsEXEC_ARGS_TRUNCATED || int(e.ArgsSize) != len("true ")+15*100_001 ||
		len(texts[0]) < 100_000 || len(texts[0]) > 1<<20/4 || !strings.HasPrefix(strings.Join(cmd.Args, "\x00"), texts[0]) {
		t.Errorf("flags %#x, %d of %d bytes of arguments", e.Flags, len(texts[0]), e.ArgsSize)
	}
	if n := r.kernelErrors(bpf.WireKernelErrorKERR_RING_FULL); n != 0 {
		t.Errorf("%d events are lost", n)
	}
}
