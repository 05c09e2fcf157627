// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStarted(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "7"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := "7 (a) b) S 1 " + strings.Repeat("0 ", 17) + "123 0 0\n"
	if err := os.WriteFile(filepath.Join(root, "7", "stat"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Started(root, 7); err != nil || got != 123*tick {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := Started(root, 8); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such process: %v", err)
	}
}
