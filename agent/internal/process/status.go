// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/boltseal/boltseal/bpf"
)

// status is what is read of /proc/PID/status.
type status struct {
	state State
	pids  []uint32 // in the pid namespaces that the process is in, the host's first
}

// parseStatus needs the user ids; what else is not there stays zero.
func parseStatus(text string) (status, error) {
	s := status{state: State{UserNSLevel: LevelUnknown}}
	uids := false
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		var err error
		switch key {
		case "Uid":
			uids = true
			err = parseIDs(fields, &s.state.UID, &s.state.EUID, &s.state.SUID, &s.state.FSUID)
		case "Gid":
			err = parseIDs(fields, &s.state.GID, &s.state.EGID, &s.state.SGID, &s.state.FSGID)
		case "NSpid":
			s.pids = make([]uint32, len(fields))
			for i, field := range fields {
				if err = parseIDs([]string{field}, &s.pids[i]); err != nil {
					break
				}
			}
		case "CapInh":
			err = parseSet(fields, &s.state.Inheritable)
		case "CapPrm":
			err = parseSet(fields, &s.state.Permitted)
		case "CapEff":
			err = parseSet(fields, &s.state.Effective)
		}
		if err != nil {
			return status{}, fmt.Errorf("%w: %s: %w", errMalformed, key, err)
		}
	}
	if !uids {
		return status{}, fmt.Errorf("%w: no user id", errMalformed)
	}
	return s, nil
}

// parseIDs reads one number for each of ids.
func parseIDs(fields []string, ids ...*uint32) error {
	if len(fields) != len(ids) {
		return fmt.Errorf("%d numbers where there should be %d", len(fields), len(ids))
	}
	for i, field := range fields {
		n, err := strconv.ParseUint(field, 10, 32)
		if err != nil {
			return err
		}
		*ids[i] = uint32(n)
	}
	return nil
}

// parseSet reads a set of capabilities.
func parseSet(fields []string, set *uint64) error {
	if len(fields) != 1 {
		return fmt.Errorf("%d sets where there should be one", len(fields))
	}
	n, err := strconv.ParseUint(fields[0], 16, 64)
	*set = n
	return err
}

// HostNamespaces are those of the host's first process or, where nobody may look at
// it, of the first thread of the kernel (kthreadd), which has the same: those that the
// kernel began with.
func HostNamespaces(root string) Namespaces {
	if all := NamespacesOf(filepath.Join(root, "1")); all != (Namespaces{}) {
		return all
	}
	dir := filepath.Join(root, "2")
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return Namespaces{}
	}
	if s, err := parseStat(string(text)); err != nil || !s.kernel {
		return Namespaces{}
	}
	return NamespacesOf(dir)
}

// NamespacesOf reads the namespaces of a process from its directory in /proc; 0 are
// those that it or the kernel has not, or that cannot be read.
func NamespacesOf(dir string) (all Namespaces) {
	for kind, name := range [...]string{
		bpf.WireNamespaceKindNAMESPACE_UTS: "uts", bpf.WireNamespaceKindNAMESPACE_IPC: "ipc",
		bpf.WireNamespaceKindNAMESPACE_MNT: "mnt", bpf.WireNamespaceKindNAMESPACE_PID: "pid",
		bpf.WireNamespaceKindNAMESPACE_PID_FOR_CHILDREN: "pid_for_children", bpf.WireNamespaceKindNAMESPACE_NET: "net",
		bpf.WireNamespaceKindNAMESPACE_TIME: "time", bpf.WireNamespaceKindNAMESPACE_TIME_FOR_CHILDREN: "time_for_children",
		bpf.WireNamespaceKindNAMESPACE_CGROUP: "cgroup", bpf.WireNamespaceKindNAMESPACE_USER: "user",
	} {
		if target, err := os.Readlink(filepath.Join(dir, "ns", name)); err == nil {
			all[kind] = parseNamespace(target)
		}
	}
	return all
}

// parseNamespace reads the inode number of a link such as "uts:[4026531838]".
func parseNamespace(link string) uint32 {
	_, number, _ := strings.Cut(link, ":[")
	number, closed := strings.CutSuffix(number, "]")
	n, err := strconv.ParseUint(number, 10, 32)
	if !closed || err != nil {
		return 0
	}
	return uint32(n)
}
