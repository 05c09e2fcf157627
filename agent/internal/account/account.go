// SPDX-License-Identifier: Apache-2.0

package account

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// Bounds of what is read of a file: what goes beyond is not there.
const (
	maxFileBytes = 4 << 20
	maxUsers     = 65536
	maxName      = 256
)

// Users finds the names of users. It is safe for concurrent use.
type Users struct {
	path string

	mu    sync.Mutex
	state state
	names map[uint32]string
}

// state tells one content of a file from another: tools replace the file, and
// whatever writes into it changes the time of its inode.
type state struct {
	dev, inode uint64
	size       int64
	changed    syscall.Timespec
}

// New finds users in a file of the form of /etc/passwd, which is read when it is
// first asked and whenever it has changed. A file that cannot be read has no
// users.
func New(path string) *Users { return &Users{path: path} }

// Name is the name of a user, empty when it has none. Of several the first in the
// file counts.
func (u *Users) Name(uid uint32) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	now, err := look(u.path)
	if err != nil {
		u.state, u.names = state{}, nil
		return ""
	}
	if u.names == nil || now != u.state {
		// If it changes meanwhile, it has another state next time.
		u.state = now
		if u.names, err = read(u.path); err != nil {
			u.names = nil
		}
	}
	return u.names[uid]
}

func read(path string) (map[uint32]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFileBytes))
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	return parse(text), nil
}

// parse reads lines "name:password:uid:...". Others are passed over, as the C
// library does.
func parse(text []byte) map[uint32]string {
	names := map[uint32]string{}
	for line := range bytes.Lines(text) {
		name, rest, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || len(name) > maxName || name[0] == '#' || name[0] == '+' || name[0] == '-' {
			continue // without a name, a comment, or an entry of NIS
		}
		_, rest, _ = bytes.Cut(rest, []byte(":"))
		number, _, ok := bytes.Cut(rest, []byte(":"))
		uid, err := strconv.ParseUint(string(number), 10, 32)
		if !ok || err != nil {
			continue
		}
		if _, taken := names[uint32(uid)]; !taken && len(names) < maxUsers {
			names[uint32(uid)] = string(name)
		}
	}
	return names
}
