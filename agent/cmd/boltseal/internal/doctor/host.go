// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/api/v1/boltseal"
)

// Host is where the kernel shows what it has.
type Host struct {
	BTF, BPF string
	// Cgroups are where the unified hierarchy may be mounted, the likeliest first.
	Cgroups []string
}

// DefaultHost is where every distribution has it.
func DefaultHost() Host {
	return Host{
		BTF: "/sys/kernel/btf/vmlinux", BPF: "/sys/fs/bpf",
		Cgroups: []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"},
	}
}

func (r *run) lookAtHost() {
	r.tell("kernel", r.kernel())
	r.tell("kernel mechanisms", mechanisms(r.status))
	r.tell("kernel btf", r.btf())
	r.tell("cgroups", r.cgroups())
	r.tell("bpffs", r.bpffs())
}

func (r *run) kernel() finding {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return notProven("uname: %v", err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	if r.status != nil && r.status.GetKernelRelease() != release {
		return fail("this is Linux %s and the agent's is %s: it runs on another machine", release, r.status.GetKernelRelease()).
			but("run boltseal doctor where the containers are")
	}
	return ok("Linux %s", release)
}

// needed are the mechanisms without which nothing is sealed or killed.
func needed() []string {
	return []string{"btf", "raw_tracepoint_btf", "ringbuf", "cgroup_id", "tracefs", "syscall_tracepoints", "signal"}
}

// denying are those that can deny; one is enough for policies with Override, though
// not for each of them.
func denying() []string { return []string{"lsm", "fmodret", "fmodret_syscall", "override_return"} }

// mechanisms judges what the agent has tried on this kernel.
func mechanisms(status *boltseal.GetStatusResponse) finding {
	if status == nil {
		return notProven("the agent, which tries them, did not answer")
	}
	features := map[string]*boltseal.Feature{}
	var missing []string
	have := 0
	for _, f := range status.GetFeatures() {
		features[f.GetName()] = f
		if f.GetState() == boltseal.FeatureState_FEATURE_STATE_AVAILABLE {
			have++
		} else {
			missing = append(missing, f.GetName())
		}
	}
	if have == 0 {
		return notProven("the agent tells of none")
	}
	working := func(name string) bool {
		return features[name].GetState() == boltseal.FeatureState_FEATURE_STATE_AVAILABLE
	}
	for _, name := range needed() {
		if f := features[name]; f != nil && !working(name) {
			return fail("%s does not work: %s", name, f.GetReason()).but("use a kernel that has it: sealing and killing are made of it")
		}
	}
	var deny []string
	for _, name := range denying() {
		if working(name) {
			deny = append(deny, name)
		}
	}
	switch {
	case len(deny) == 0:
		return warn("%d work; nothing here can deny (%s), policies with Override are refused", have, strings.Join(denying(), ", ")).
			but("see boltseal status for the reasons; a kernel with BPF LSM and lsm=...,bpf denies")
	case len(missing) > 0:
		return ok("%d work, and deny by %s; missing: %s", have, strings.Join(deny, ", "), strings.Join(missing, ", "))
	}
	return ok("all %d work, and deny by %s", have, strings.Join(deny, ", "))
}

func (r *run) btf() finding {
	if _, err := os.Stat(r.Host.BTF); err != nil {
		return fail("the kernel does not describe its types: %v", err).but("use a kernel with CONFIG_DEBUG_INFO_BTF")
	}
	return ok("%s", r.Host.BTF)
}

func (r *run) cgroups() finding {
	paths := r.Host.Cgroups
	if root := r.status.GetCgroupRoot(); root != "" {
		paths = []string{root}
	}
	for _, path := range paths {
		var st unix.Statfs_t
		if err := unix.Statfs(path, &st); err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return ok("version 2 at %s", path)
		}
	}
	return fail("no hierarchy of version 2 at %s", strings.Join(paths, " or ")).
		but("mount cgroup2, or boot with systemd.unified_cgroup_hierarchy=1")
}

func (r *run) bpffs() finding {
	var st unix.Statfs_t
	err := unix.Statfs(r.Host.BPF, &st)
	switch {
	case err == nil && st.Type == unix.BPF_FS_MAGIC:
		return ok("mounted at %s", r.Host.BPF)
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return warn("not mounted at %s: nothing can be kept there while the agent is away", r.Host.BPF).
			but("mount -t bpf bpf %s", r.Host.BPF)
	}
	return notProven("look at %s: %v", r.Host.BPF, err)
}
