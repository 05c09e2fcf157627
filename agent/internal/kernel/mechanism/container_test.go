// SPDX-License-Identifier: Apache-2.0

//go:build linux

package mechanism

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/boltseal/boltseal/agent/internal/kernel"
	"github.com/boltseal/boltseal/test/testenv"
)

// patience is for what takes well under a second on a real machine, and several
// on an emulated one.
const patience = 60 * time.Second

// needs skips a test where the probes say that the kernel lacks a feature.
func needs(t *testing.T, features ...kernel.Feature) {
	t.Helper()
	testenv.Require(t, testenv.BPF(), testenv.BTF(), testenv.Containers())
	for _, f := range features {
		testenv.Require(t, testenv.Optional(string(f), func() error {
			return kernel.Probe(t.Context(), kernel.Options{Only: []kernel.Feature{f}}).Err(f)
		}))
	}
}

// act is what is done, as a command of the shell. $ROOT is the directory of the
// containers' files, $TMP an empty one, $n the number of the try.
type act string

const (
	openShadow act = "cat $ROOT/etc/shadow >/dev/null"
	// The directory is there also when mkdir is killed: the signal comes last.
	makeDirectory act = "mkdir $TMP/$n && rmdir $TMP/$n"
)

// again does the act over and over, and prints for each try how it ended: its
// status and what it complained of. Nothing here but the act itself makes
// directories or opens the file.
func (a act) again() string {
	return "n=0; while :; do n=$((n+1)); out=$( { " + string(a) + "; } 2>&1 ); echo try $? $out; sleep 0.02; done"
}

// onHost does the act once in this process's cgroup, by the containers' program.
func (a act) onHost(t *testing.T) error {
	t.Helper()
	root := testenv.Rootfs(t)
	cmd := exec.CommandContext(t.Context(), filepath.Join(root, "bin/busybox"), "sh", "-c", string(a))
	cmd.Env = []string{"PATH=" + filepath.Join(root, "bin"), "ROOT=" + root, "TMP=" + testenv.Dir(t), "n=1"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// try is how one act ended.
type try struct {
	status    int
	complaint string
}

func (t try) String() string {
	if t == done() {
		return "it works"
	}
	return fmt.Sprintf("it fails with status %d, %q", t.status, t.complaint)
}

// done is the act that worked.
func done() try { return try{} }

// container is one whose entrypoint tries an act over and over.
type container struct {
	*testenv.Container
	t    *testing.T
	runc *testenv.Runc
	id   uint64 // of its cgroup
}

// create creates a container, which does not try yet.
func create(t *testing.T, runc *testenv.Runc, a act) *container {
	t.Helper()
	c := &container{
		Container: testenv.Bundle(t, testenv.Spec{Args: []string{"/bin/sh", "-c", a.again()}, Env: []string{"ROOT=", "TMP=/tmp"}}),
		t:         t, runc: runc,
	}
	if result := runc.Create(t.Context(), c.Container); result.Code != 0 {
		t.Fatalf("runc create: %s", result)
	}
	var err error
	if c.id, err = c.CgroupID(); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *container) start() {
	c.t.Helper()
	if result := c.runc.Start(c.t.Context(), c.Container); result.Code != 0 {
		c.t.Fatalf("runc start: %s", result)
	}
}

// tries returns how each act so far has ended.
func (c *container) tries() []try {
	c.t.Helper()
	var tries []try
	lines := strings.SplitAfter(c.Stdout(), "\n")
	for _, line := range lines[:len(lines)-1] { // what follows the last newline is not complete
		var one try
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "try ")
		if _, err := fmt.Sscanf(rest, "%d", &one.status); !ok || err != nil {
			c.t.Fatalf("the container says %q", line)
		}
		_, one.complaint, _ = strings.Cut(rest, " ")
		tries = append(tries, one)
	}
	return tries
}

// after waits until the container has tried at least so often, and returns all.
func (c *container) after(count int) []try {
	c.t.Helper()
	var tries []try
	testenv.Eventually(c.t, patience, "the container tries", func() error {
		if tries = c.tries(); len(tries) < count {
			return fmt.Errorf("%d tries, want %d; stderr %q", len(tries), count, c.Stderr())
		}
		return nil
	})
	if c.t.Failed() {
		c.t.FailNow()
	}
	return tries
}

// want says which tries did not end as they should.
func want(t *testing.T, who string, tries []try, what string, ended func(try) bool) {
	t.Helper()
	for i, one := range tries {
		if !ended(one) {
			t.Errorf("%s, try %d of %d: %s, want %s", who, i+1, len(tries), one, what)
			return
		}
	}
}
