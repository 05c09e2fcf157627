// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/boltseal/boltseal/bpf"
)

func TestTaskRoom(t *testing.T) {
	room, err := TaskRoom()
	if err != nil {
		t.Fatal(err)
	}
	if room < 300 || room > mostTasks+mostTasks/8 {
		t.Errorf("room for %d tasks", room)
	}
}

func TestReplaceTaskStorage(t *testing.T) {
	for name, load := range map[string]func() (*ebpf.CollectionSpec, error){
		"cgroup": bpf.LoadCgroup, "process": bpf.LoadProcess, "tracepoint": bpf.LoadSite,
	} {
		spec, err := load()
		if err != nil {
			t.Fatal(err)
		}
		count := func(want ebpf.MapType) (n int) {
			for _, m := range spec.Maps {
				if m.Type == want {
					n++
				}
			}
			return n
		}
		storages, hashes := count(ebpf.TaskStorage), count(ebpf.Hash)
		if err := ReplaceTaskStorage(spec, 0); err != nil || storages == 0 || count(ebpf.TaskStorage) != storages {
			t.Errorf("%s: %d of %d task storages with no room (%v)", name, count(ebpf.TaskStorage), storages, err)
		}
		if err := ReplaceTaskStorage(spec, 7); err != nil || count(ebpf.TaskStorage) != 0 || count(ebpf.Hash) != hashes+storages {
			t.Errorf("%s: %d task storages and %d hashes (%v)", name, count(ebpf.TaskStorage), count(ebpf.Hash), err)
		}
		seals := spec.Maps[bpf.CgroupMapTaskSeals]
		if seals.MaxEntries != 7 || seals.KeySize != 8 || seals.Flags != 0 {
			t.Errorf("%s: %+v", name, seals)
		}
		var told uint32
		if err := spec.Variables[taskStorageVariable].Get(&told); err != nil || told != 0 {
			t.Errorf("%s: programs are told %d (%v)", name, told, err)
		}
	}
	if err := ReplaceTaskStorage(&ebpf.CollectionSpec{}, 7); err == nil {
		t.Error("programs that cannot be told are no error")
	}
}

func TestAllocates(t *testing.T) {
	for release, want := range map[string]bool{
		"5.10.0-46-cloud-amd64": false, "5.15.0": false, "6.0.19": false, "6.1.0-56-amd64": true, "6.12": true,
		"6.1-rc1": true, "7.2.0": true, "10.0": true, "": false, "6": false, "six.1": false, "4.19": false,
	} {
		if got := allocates(release); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}
