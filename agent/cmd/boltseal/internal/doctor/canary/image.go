// SPDX-License-Identifier: Apache-2.0

package canary

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
)

// image writes an image of the root under a name, in the form of docker save.
func (s *Scene) image(to, name string) error {
	layer := to + ".layer"
	if err := s.archive(layer); err != nil {
		return err
	}
	text, err := os.ReadFile(layer)
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Cmd": []string{programPath}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(text))}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{
		"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		return err
	}
	file, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w := tar.NewWriter(file)
	for _, part := range []struct {
		name string
		text []byte
	}{{"config.json", config}, {"layer.tar", text}, {"manifest.json", manifest}} {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: part.name, Mode: 0o644, Size: int64(len(part.text))}))
		if err == nil {
			_, err = w.Write(part.text)
		}
	}
	return errors.Join(err, w.Close(), file.Close())
}
