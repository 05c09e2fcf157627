// SPDX-License-Identifier: Apache-2.0

package names

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boltseal/boltseal/agent/internal/container"
)

// idOf is the id of a container in these tests.
func idOf(c string) string { return strings.Repeat(c, 64) }

// write puts files into a directory as an engine does: a new one takes the old one's
// place.
func write(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(file), 0o700)
		err = errors.Join(err, os.WriteFile(file+".tmp", []byte(text), 0o600), os.Rename(file+".tmp", file))
		if err != nil {
			t.Fatal(err)
		}
	}
}

// record is Docker's of a container.
func record(id, name string) string {
	return fmt.Sprintf(`{"StreamConfig":{},"State":{"Running":true,"Paused":false,"Pid":4711},"ID":%q,"Created":"2026-01-02T03:04:05Z",
"Config":{"Hostname":"box","Image":"shop/web:1.2","Cmd":["sh"],"Labels":{"com.docker.compose.project":"shop","com.docker.compose.service":"web"}},
"Image":"sha256:%s","Name":"/%s","Driver":"overlay2","SeccompProfile":""}`, id, idOf("0"), name)
}

// storage is a list of containers/storage.
func storage(names ...string) string {
	var all []string
	for i := 0; i+1 < len(names); i += 2 {
		all = append(all, fmt.Sprintf(`{"id":%q,"names":[%q],"image":"6b96","layer":"f4e5",
"metadata":"{\"image-name\":\"localhost/shop/web:1.2\",\"name\":\"first\",\"created-at\":1795904301}","flags":{"MountLabel":""}}`, names[i], names[i+1]))
	}
	return "[" + strings.Join(all, ",") + "]"
}

func TestFind(t *testing.T) {
	a, b := idOf("a"), idOf("b")
	labels := map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
	byDocker := Names{Engine: "docker", Name: "web", Image: "shop/web:1.2", Labels: labels, InitPID: 4711}
	byPodman := Names{Engine: "podman", Name: "web", Image: "localhost/shop/web:1.2"}
	bundle := "/srv/pods/overlay-containers/" + a + "/userdata"
	for _, test := range []struct {
		name  string
		files map[string]string
		of    container.Container
		want  Names
		err   error
	}{
		{"docker by default", map[string]string{"var/lib/docker/containers/" + a + "/config.v2.json": record(a, "web")},
			container.Container{ID: a, Runtime: "docker"}, byDocker, nil},
		{"docker below its root directory", map[string]string{
			"srv/d/containers/" + a + "/config.v2.json":          record(a, "web"),
			"var/lib/docker/containers/" + a + "/config.v2.json": record(a, "other"),
		}, container.Container{ID: a, Runtime: "docker", RootDir: "/srv/d/overlay2/123/merged"}, byDocker, nil},
		{"docker as it is configured", map[string]string{
			"etc/docker/daemon.json":                    `{"data-root": "/srv/d", "debug": true}`,
			"srv/d/containers/" + a + "/config.v2.json": record(a, "web"),
		}, container.Container{ID: a, Runtime: "docker", RootDir: "/elsewhere/rootfs"}, byDocker, nil},
		{"docker without a record", map[string]string{"var/lib/docker/containers/" + b + "/config.v2.json": record(b, "web")},
			container.Container{ID: a, Runtime: "docker"}, Names{}, ErrUnread},
		{"docker with another's record", map[string]string{"var/lib/docker/containers/" + a + "/config.v2.json": record(b, "web")},
			container.Container{ID: a, Runtime: "docker"}, Names{}, ErrUnread},
		{"docker with half a record", map[string]string{"var/lib/docker/containers/" + a + "/config.v2.json": record(a, "web")[:200]},
			container.Container{ID: a, Runtime: "docker"}, Names{}, ErrUnread},
		{"docker without a name", map[string]string{"var/lib/docker/containers/" + a + "/config.v2.json": record(a, "")},
			container.Container{ID: a, Runtime: "docker"}, Names{}, ErrUnread},
		{"known by its cgroup", map[string]string{"var/lib/docker/containers/" + a + "/config.v2.json": record(a, "web")},
			container.Container{ID: a, Guess: true}, byDocker, nil},
		{"an id that leads elsewhere", map[string]string{"var/lib/docker/config.v2.json": record("..", "web")},
			container.Container{ID: "..", Runtime: "docker"}, Names{}, ErrNone},
		{"runc", map[string]string{"var/lib/docker/containers/" + a + "/config.v2.json": record(a, "web")},
			container.Container{ID: a, Runtime: "runc"}, Names{}, ErrNone},
		{"podman", map[string]string{"srv/pods/overlay-containers/containers.json": storage(b, "other", a, "web")},
			container.Container{ID: a, Runtime: "podman", Bundle: bundle}, byPodman, nil},
		{"podman, for a while", map[string]string{
			"srv/pods/overlay-containers/containers.json":          storage(b, "other"),
			"srv/pods/overlay-containers/volatile-containers.json": storage(a, "web"),
		}, container.Container{ID: a, Runtime: "podman", Bundle: bundle}, byPodman, nil},
		{"podman without storage", nil, container.Container{ID: a, Runtime: "podman", Bundle: bundle}, Names{}, ErrNone},
		{"podman with half a list", map[string]string{"srv/pods/overlay-containers/containers.json": storage(a, "web")[:50]},
			container.Container{ID: a, Runtime: "podman", Bundle: bundle}, Names{}, ErrUnread},
		{"podman with another's bundle", map[string]string{"srv/pods/overlay-containers/containers.json": storage(b, "web")},
			container.Container{ID: b, Runtime: "podman", Bundle: bundle}, Names{}, ErrNone},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			write(t, root, test.files)
			got, err := at(root).Find(&test.of)
			if !errors.Is(err, test.err) || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %v, want %+v, %v", got, err, test.want, test.err)
			}
		})
	}
}

// TestARecordOfNoLabels holds that labels which a container does not have any more
// can be told from those of an engine whose records have none.
func TestARecordOfNoLabels(t *testing.T) {
	got, err := parseDocker([]byte(`{"ID":"x","Name":"/web","State":{"Running":false,"Pid":0},"Config":{"Labels":null}}`), "x")
	if err != nil || got.Labels == nil || len(got.Labels) != 0 || got.InitPID != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestRecordsOfOthersAreNotRead puts what an engine would not write in a record's place.
func TestRecordsOfOthersAreNotRead(t *testing.T) {
	a := idOf("a")
	for name, spoil := range map[string]func(file string) error{
		"link": func(file string) error {
			return errors.Join(os.Rename(file, file+".1"), os.Symlink(file+".1", file))
		},
		"pipe": func(file string) error {
			return errors.Join(os.Remove(file), unix.Mkfifo(file, 0o600))
		},
		"directory":             func(file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) },
		"for others to write":   func(file string) error { return os.Chmod(file, 0o602) },
		"for a group to write":  func(file string) error { return os.Chmod(file, 0o620) },
		"huge":                  func(file string) error { return os.Truncate(file, 1<<30) },
		"larger than it may be": func(file string) error { return os.Truncate(file, maxDockerFile+1) },
		"of another user": func(file string) error {
			if os.Geteuid() != 0 {
				return os.Chmod(file, 0) // nobody else can give files away
			}
			return os.Chown(file, 12345, -1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			place := "var/lib/docker/containers/" + a + "/config.v2.json"
			write(t, root, map[string]string{place: record(a, "web")})
			of := &container.Container{ID: a, Runtime: "docker"}
			if _, err := at(root).Find(of); err != nil {
				t.Fatal(err)
			}
			if err := spoil(filepath.Join(root, place)); err != nil {
				t.Fatal(err)
			}
			if got, err := at(root).Find(of); !errors.Is(err, ErrUnread) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// TestHangingReadsAreNotWaitedFor has all places of reads taken by some that hang.
func TestHangingReadsAreNotWaitedFor(t *testing.T) {
	f := at(t.TempDir())
	f.patience = 1
	for range maxReads {
		f.reads <- struct{}{}
	}
	if _, err := f.Find(&container.Container{ID: idOf("a"), Runtime: "docker"}); !errors.Is(err, ErrUnread) {
		t.Errorf("got %v", err)
	}
}

// TestAListIsReadAgainWhenItChanges asks for one container before and after podman
// rename.
func TestAListIsReadAgainWhenItChanges(t *testing.T) {
	root, a := t.TempDir(), idOf("a")
	f := at(root)
	of := &container.Container{ID: a, Runtime: "podman", Bundle: "/g/vfs-containers/" + a + "/userdata"}
	for _, name := range []string{"web", "web", "api"} {
		write(t, root, map[string]string{"g/vfs-containers/containers.json": storage(a, name)})
		if got, err := f.Find(of); err != nil || got.Name != name {
			t.Errorf("got %+v, %v, want %s", got, err, name)
		}
	}
	for i := range 3 * maxStores {
		of.Bundle = fmt.Sprintf("/g%d/vfs-containers/%s/userdata", i, a)
		write(t, root, map[string]string{fmt.Sprintf("g%d/vfs-containers/containers.json", i): storage(a, "web")})
		if _, err := f.Find(of); err != nil {
			t.Error(err)
		}
	}
	if n := len(f.stores.read); n > maxStores {
		t.Errorf("%d lists are kept", n)
	}
}

// FuzzRecords holds that no record breaks its reader, and that what it tells is whole.
func FuzzRecords(f *testing.F) {
	for _, text := range []string{record("a", "web"), storage("a", "web", "b", "api"), `{"data-root":"/srv"}`, `null`, `[{}]`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if n, err := parseDocker(text, "a"); err == nil && (n.Name == "" || n.Labels == nil || n.InitPID < 0) {
			t.Errorf("docker: %+v", n)
		}
		all, err := parseStorage(text)
		if err != nil && all != nil {
			t.Errorf("a list with an error: %v", err)
		}
		for n := range maps.Values(all) {
			if n.Name == "" {
				t.Error("storage: no name")
			}
		}
		parseDaemon(text)
	})
}

func BenchmarkFind(b *testing.B) {
	root, id := b.TempDir(), idOf("a")
	var all []string
	for i := range 1000 {
		all = append(all, fmt.Sprintf("%064x", i), "web")
	}
	for name, text := range map[string]string{
		"var/lib/docker/containers/" + id + "/config.v2.json": record(id, "web"),
		"g/vfs-containers/containers.json":                    storage(append(all, id, "web")...),
	} {
		file := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			b.Fatal(err)
		}
	}
	for name, of := range map[string]container.Container{
		"none":           {ID: id, Runtime: "runc"},
		"docker":         {ID: id, Runtime: "docker", RootDir: "/var/lib/docker/overlay2/1/merged"},
		"podman of 1000": {ID: id, Runtime: "podman", Bundle: "/g/vfs-containers/" + id + "/userdata"},
	} {
		b.Run(name, func(b *testing.B) {
			f := at(root)
			for b.Loop() {
				if _, err := f.Find(&of); err != nil && !errors.Is(err, ErrNone) {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("podman of 1000, changed", func(b *testing.B) {
		of := container.Container{ID: id, Runtime: "podman", Bundle: "/g/vfs-containers/" + id + "/userdata"}
		for b.Loop() {
			if _, err := at(root).Find(&of); err != nil {
				b.Fatal(err)
			}
		}
	})
}
