// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// taskStorageVariable is how programs are told which kind of map holds what
// belongs to a task.
const taskStorageVariable = "task_storage"

// mostTasks bounds the memory of a map with room for every task, to some 150 MB.
const mostTasks = 1 << 20

// TaskRoom is the number of tasks that this machine can have at once, up to
// 1,048,576: the room that a map needs which stands in for task storage.
func TaskRoom() (uint32, error) {
	room := uint64(mostTasks)
	for _, path := range []string{"/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max"} {
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, fmt.Errorf("count possible tasks: %w", err)
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("count possible tasks: %s: %w", path, err)
		}
		room = min(room, n)
	}
	// Those that have ended stay for an RCU grace period.
	return uint32(room + room/8), nil
}

// ReplaceTaskStorage makes a collection do without task storage: its maps
// become preallocated hashes by the task's address, with room for that many
// tasks, and its programs are told. With no room, 0, it changes nothing.
func ReplaceTaskStorage(spec *ebpf.CollectionSpec, room uint32) error {
	if room == 0 {
		return nil
	}
	variable := spec.Variables[taskStorageVariable]
	if variable == nil {
		return fmt.Errorf("replace task storage: the programs have no variable %s", taskStorageVariable)
	}
	if err := variable.Set(uint32(0)); err != nil {
		return fmt.Errorf("replace task storage: %w", err)
	}
	for _, m := range spec.Maps {
		if m.Type != ebpf.TaskStorage {
			continue
		}
		// Not preallocated, programs at tracepoints make 5.10 warn.
		m.Type, m.Flags, m.KeySize, m.MaxEntries = ebpf.Hash, 0, 8, room
		m.Key = nil
	}
	return nil
}
