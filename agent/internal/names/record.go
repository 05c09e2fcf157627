// SPDX-License-Identifier: Apache-2.0

package names

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// The files of records.
const (
	dockerFile   = "config.v2.json"
	storageFile  = "containers.json"
	volatileFile = "volatile-containers.json"
)

// Sizes of records, in bytes. Docker's is of one container: some 4 KiB and what its
// user has put in as environment, arguments and labels.
const (
	maxDockerFile  = 4 << 20
	maxStorageFile = 64 << 20
)

// parseDocker reads Docker's record of the container with an id.
func parseDocker(text []byte, id string) (Names, error) {
	var record struct {
		ID, Name string
		State    struct {
			Running bool
			Pid     int
		}
		Config struct {
			Image  string
			Labels map[string]string
		}
	}
	if err := json.Unmarshal(text, &record); err != nil {
		return Names{}, err
	}
	if record.ID != id {
		return Names{}, fmt.Errorf("record is of another container: ID %.80q", record.ID)
	}
	n := Names{Engine: docker, Name: strings.TrimPrefix(record.Name, "/"), Image: record.Config.Image, Labels: record.Config.Labels}
	if n.Name == "" {
		return Names{}, errors.New("record has no name")
	}
	if n.Labels == nil {
		n.Labels = map[string]string{} // null in a record of none
	}
	if s := record.State; s.Running && s.Pid > 0 {
		n.InitPID = s.Pid
	}
	return n, nil
}

// parseDaemon reads where dockerd is configured to keep its data; empty: by default.
func parseDaemon(text []byte) string {
	var settings struct {
		DataRoot string `json:"data-root"`
	}
	if json.Unmarshal(text, &settings) != nil {
		return ""
	}
	return settings.DataRoot
}

// parseStorage reads a list of containers as containers/storage keeps it, by their ids.
// Those that have no name are left out.
func parseStorage(text []byte) (map[string]Names, error) {
	var records []struct {
		ID    string   `json:"id"`
		Names []string `json:"names"`
		// Metadata is JSON of who made the container, as text.
		Metadata string `json:"metadata"`
	}
	if err := json.Unmarshal(text, &records); err != nil {
		return nil, err
	}
	all := make(map[string]Names, len(records))
	for _, r := range records {
		if r.ID == "" || len(r.Names) == 0 || r.Names[0] == "" {
			continue
		}
		var made struct {
			Image string `json:"image-name"`
		}
		// A name without an image is better than none.
		_ = json.Unmarshal([]byte(r.Metadata), &made)
		// The name in the metadata stays as it was when the container is renamed.
		all[r.ID] = Names{Engine: podman, Name: r.Names[0], Image: made.Image}
	}
	return all, nil
}
