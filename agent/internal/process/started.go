// SPDX-License-Identifier: Apache-2.0

package process

import (
	"os"
	"path/filepath"
	"strconv"
)

// Started tells when a process started, in ns since boot and whole hundredths of a
// second, by the proc file system at root.
func Started(root string, tgid uint32) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(root, strconv.FormatUint(uint64(tgid), 10), "stat"))
	if err != nil {
		return 0, err
	}
	s, err := parseStat(string(text))
	return s.start, err
}
