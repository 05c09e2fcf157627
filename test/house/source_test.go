// SPDX-License-Identifier: Apache-2.0

package house

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maxLines is the length at which nobody finds anything any more.
const maxLines = 500

// source is one file that people wrote.
type source struct {
	path string
	text []byte
}

// root returns the directory of the module.
func root(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

// sources reads the files with these extensions that are not generated.
func sources(t *testing.T, extensions ...string) []source {
	t.Helper()
	var found []source
	top := root(t)
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != top && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() || !slices.Contains(extensions, filepath.Ext(name)) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if filepath.Ext(name) == ".go" && isGenerated(text) {
			return nil
		}
		short, err := filepath.Rel(top, path)
		found = append(found, source{path: short, text: text})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 5 {
		t.Fatalf("found %d files only", len(found))
	}
	return found
}

func isGenerated(text []byte) bool {
	file, err := parser.ParseFile(token.NewFileSet(), "", text, parser.PackageClauseOnly|parser.ParseComments)
	return err == nil && ast.IsGenerated(file)
}

// licence returns the licence that a file of this kind names.
func licence(path string) string {
	if ext := filepath.Ext(path); in(path, "bpf") && (ext == ".c" || ext == ".h") {
		return "(GPL-2.0-only OR BSD-2-Clause)"
	}
	return "Apache-2.0"
}

func TestEveryFileNamesItsLicence(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t, ".go", ".c", ".h", ".proto", ".sh", ".s") {
		lines := bytes.SplitN(s.text, []byte("\n"), 3)
		lines = lines[:min(2, len(lines))] // a script's first line names its shell
		if !bytes.Contains(bytes.Join(lines, nil), []byte("SPDX-License-Identifier: "+licence(s.path))) {
			t.Errorf("%s: its first line is not SPDX-License-Identifier: %s", s.path, licence(s.path))
		}
	}
}

func TestFilesStayShort(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t, ".go", ".c", ".h") {
		if n := bytes.Count(s.text, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it by what its parts are about", s.path, n, maxLines)
		}
	}
}

func TestNothingRunsBeforeMain(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t, ".go") {
		file, err := parser.ParseFile(token.NewFileSet(), s.path, s.text, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "init" && f.Recv == nil {
				t.Errorf("%s has an init function: set things up where they are used, and report errors", s.path)
			}
		}
	}
}
