// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/boltseal/boltseal/api/v1/boltseal"
)

func TestNoticeEqualsGenerated(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxArgs-1)
	for name, c := range map[string]struct {
		notice ExecNotice
		args   []string // those that arrive
	}{
		"full":     {ExecNotice{"abc", 1<<31 - 1, []string{"sh", "", "-c", "é"}, "/a", "1:2", true}, []string{"sh", "", "-c", "é"}},
		"empty":    {},
		"no UTF-8": {ExecNotice{ContainerID: "a", Args: []string{"\xff"}}, []string{"\uFFFD"}},
		"as long":  {ExecNotice{Args: []string{long, "y"}}, []string{long, "y"}},
		"too long": {ExecNotice{Args: []string{long, "yz", "a"}}, []string{long}},
	} {
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(&boltseal.ExecNoticeRequest{
			ContainerId: c.notice.ContainerID, RuntimePid: c.notice.RuntimePid, Args: c.args, Cwd: c.notice.Cwd,
			User: c.notice.User, Tty: c.notice.TTY,
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.notice.Marshal(); string(got) != string(want) {
			t.Errorf("%s:\ngot  %x\nwant %x", name, got, want)
		}
	}
}
