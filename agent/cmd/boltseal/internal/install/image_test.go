// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// image is a host in a directory.
type image struct {
	t    *testing.T
	root string
	// says is what its programs print: by name, then what "NAME ARGS..." prints.
	says map[string]string
	// refuses makes programs fail, by the same keys.
	refuses map[string]string
	asked   []string
	options Options
}

// newImage makes a host that has these files, and boltseal. A name that ends in
// "!" is a program, a text that begins with "->" a link.
func newImage(t *testing.T, files map[string]string) *image {
	t.Helper()
	i := &image{t: t, root: t.TempDir(), says: map[string]string{}, refuses: map[string]string{}}
	i.add(map[string]string{"/usr/local/bin/boltseal-hook!": "hook", "/usr/local/bin/boltseal-nri!": "plugin", "/usr/sbin/runc!": "runc"})
	i.add(files)
	i.options = Options{Root: i.root, BinDir: "/usr/local/bin", run: i.run, hasty: true}
	return i
}

func (i *image) add(files map[string]string) {
	i.t.Helper()
	for name, text := range files {
		mode := fs.FileMode(0o640)
		if strings.HasSuffix(name, "!") {
			name, mode = strings.TrimSuffix(name, "!"), 0o755
		}
		where := filepath.Join(i.root, name)
		if err := os.MkdirAll(filepath.Dir(where), 0o755); err != nil {
			i.t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(text, "->"); link {
			err = os.Symlink(target, where)
		} else {
			err = errors.Join(os.WriteFile(where, []byte(text), mode), os.Chmod(where, mode))
		}
		if err != nil {
			i.t.Fatal(err)
		}
	}
}

func (i *image) run(_ context.Context, name string, args ...string) ([]byte, error) {
	command := strings.Join(append([]string{path.Base(name)}, args...), " ")
	i.asked = append(i.asked, command)
	for key, text := range i.refuses {
		if strings.HasPrefix(command, key) {
			return []byte(text), errors.New(text)
		}
	}
	return []byte(i.says[command]), nil
}

// files is all that there is, with modes.
func (i *image) files() map[string]string {
	i.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(i.root, func(where string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text := ""
		switch info.Mode().Type() {
		case fs.ModeSymlink:
			text, err = os.Readlink(where)
		case 0:
			var data []byte
			data, err = os.ReadFile(where)
			text = string(data)
		}
		all[strings.TrimPrefix(where, i.root)+"/"] = fmt.Sprintf("%v %q", info.Mode(), text)
		return err
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return all
}

func (i *image) text(name string) string {
	i.t.Helper()
	data, err := os.ReadFile(filepath.Join(i.root, name))
	if err != nil {
		i.t.Fatal(err)
	}
	return string(data)
}

func (i *image) install() *Result {
	i.t.Helper()
	r, err := Install(i.t.Context(), i.options)
	if err != nil {
		i.t.Fatalf("install: %v", err)
	}
	return r
}

func (i *image) uninstall() *Result {
	i.t.Helper()
	r, err := Uninstall(i.t.Context(), i.options)
	if err != nil {
		i.t.Fatalf("uninstall: %v", err)
	}
	return r
}

// registered returns by runtime how it is registered.
func (i *image) registered() map[string]string {
	i.t.Helper()
	all, err := Status(i.t.Context(), i.options)
	if err != nil {
		i.t.Fatalf("status: %v", err)
	}
	out := map[string]string{}
	for _, r := range all {
		if r.Registered != NothingToTell {
			out[r.Name] = r.Registered
		}
	}
	return out
}

// same fails when the files are not those from before.
func (i *image) same(before map[string]string, when string) {
	i.t.Helper()
	if diff := cmp.Diff(before, i.files()); diff != "" {
		i.t.Errorf("%s:\n%s", when, diff)
	}
}

func merged(maps_ ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range maps_ {
		maps.Copy(out, m)
	}
	return out
}
