// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/boltseal/boltseal/agent/internal/container"
	"github.com/boltseal/boltseal/api/v1/boltseal"
)

// TestExecsAreBounded: a container that is entered all day takes no more room than one
// that is entered now and then.
func TestExecsAreBounded(t *testing.T) {
	t.Parallel()
	var e execs
	begin := time.Unix(1e9, 0)
	alive := func() bool { return true }
	for i := range 3 * maxExecs {
		at := begin.Add(time.Duration(i) * time.Second)
		e.add("c", &boltseal.Exec{Time: timestamppb.New(at), RuntimePid: uint32(i + 1)}, alive)
	}
	count, last := e.get("c", begin.Add(time.Minute))
	if count != 3*maxExecs || len(last) != maxExecs || last[maxExecs-1].GetRuntimePid() != 3*maxExecs || last[0].GetRuntimePid() != 2*maxExecs+1 {
		t.Errorf("%d notices, of which %v", count, last)
	}
	// All but the last two are too old.
	count, last = e.get("c", begin.Add((3*maxExecs-2)*time.Second+execLife))
	if count != 3*maxExecs || len(last) != 2 {
		t.Errorf("later: %d notices, of which %v", count, last)
	}
	if count, last = e.get("d", begin); count != 0 || last != nil {
		t.Errorf("another container: %d notices, of which %v", count, last)
	}
	if e.add("dead", &boltseal.Exec{}, func() bool { return false }) || len(e.of) != 1 {
		t.Errorf("a dead container: kept in %v", e.of)
	}
}

// TestExecsEndWithTheirContainer: who gets an id again does not get its past.
func TestExecsEndWithTheirContainer(t *testing.T) {
	t.Parallel()
	registry := container.New(0)
	var e execs
	stop := e.follow(registry)
	defer stop()
	put := func(cgroup uint64, image string) {
		t.Helper()
		if err := registry.Put(&container.Container{ID: "c", CgroupID: cgroup, Image: image}); err != nil {
			t.Fatal(err)
		}
	}
	add := func() { e.add("c", &boltseal.Exec{Time: timestamppb.Now()}, func() bool { return true }) }
	want := func(when string, want uint64) {
		t.Helper()
		if got, _ := e.get("c", time.Now()); got != want {
			t.Errorf("%s: %d notices, want %d", when, got, want)
		}
	}
	put(0, "")
	add()
	put(7, "")
	put(7, "more is known of it")
	want("the same container", 1)
	put(8, "")
	want("another cgroup", 0)
	add()
	if _, err := registry.Remove("c", time.Now()); err != nil {
		t.Fatal(err)
	}
	want("removed", 0)
}

// TestExecNoticeIsListed goes through the API; what may be a secret is not kept.
func TestExecNoticeIsListed(t *testing.T) {
	needRoot(t)
	registry := container.New(0)
	if err := registry.Put(&container.Container{ID: "c"}); err != nil {
		t.Fatal(err)
	}
	client := boltseal.NewBoltsealClient(serve(t, &fake{}, registry))
	notice := &boltseal.ExecNoticeRequest{
		ContainerId: "c", RuntimePid: 7, Args: []string{"/bin/login", "--password=hunter2"}, Cwd: strings.Repeat("x", 2*maxExecText), User: "1:2", Tty: true,
	}
	if _, err := client.ExecNotice(t.Context(), notice); err != nil {
		t.Fatal(err)
	}
	response, err := client.ListContainers(t.Context(), &boltseal.ListContainersRequest{})
	if err != nil || len(response.GetContainers()) != 1 {
		t.Fatalf("%v, %v", response, err)
	}
	c := response.GetContainers()[0]
	if c.GetExecs() != 1 || len(c.GetRecentExecs()) != 1 {
		t.Fatalf("listed as %v", c)
	}
	x := c.GetRecentExecs()[0]
	if x.GetProgram() != "/bin/login" || x.GetRuntimePid() != 7 || x.GetUser() != "1:2" || !x.GetTty() || len(x.GetCwd()) != maxExecText ||
		time.Since(x.GetTime().AsTime()).Abs() > time.Hour {
		t.Errorf("listed as %v", x)
	}
	if text := fmt.Sprint(response); strings.Contains(text, "hunter2") {
		t.Errorf("a secret is listed: %s", text)
	}
}
