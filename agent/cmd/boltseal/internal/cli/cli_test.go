// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// rewrite is go test -rewrite: the scripts take what the commands write now.
var rewrite = flag.Bool("rewrite", false, "rewrite the scripts in testdata")

// TestScripts runs the commands of testdata/*.txt and compares all that they
// write: standard output as it is, standard error behind "! ", exit codes other
// than 0 as "[exit N]". The first line of a script says what listens on the
// socket. Each script has an agent of its own, and its commands run in order.
func TestScripts(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) < 8 {
		t.Fatalf("scripts %q, error %v", scripts, err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(script)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *rewrite {
				if err := os.WriteFile(script, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("%s: want -, got +:\n%s", script, diff)
			}
		})
	}
}

// play runs the commands of a script and returns it with what they wrote.
func play(t *testing.T, script string) string {
	head, _, _ := strings.Cut(script, "\n")
	kind, ok := strings.CutPrefix(head, "# agent: ")
	if !ok {
		t.Fatalf("the first line is %q, not # agent: ...", head)
	}
	socket := filepath.Join(t.TempDir(), "s")
	listen(t, socket, kind)
	var out strings.Builder
	fmt.Fprintln(&out, head)
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "# ") && strings.TrimSpace(line) != head {
			out.WriteString(line)
		}
		command, ok := strings.CutPrefix(line, "$ boltseal")
		if !ok {
			continue
		}
		fmt.Fprintf(&out, "\n%s", line)
		text := execute(t, command, socket)
		out.WriteString(strings.ReplaceAll(text, socket, "$SOCKET"))
	}
	return out.String()
}

// execute runs one command line: words at white space, and < FILE at its end.
func execute(t *testing.T, line, socket string) string {
	words := strings.Fields(line)
	var input bytes.Buffer
	if n := len(words); n > 1 && words[n-2] == "<" {
		text, err := os.ReadFile(words[n-1])
		if err != nil {
			t.Fatal(err)
		}
		input.Write(text)
		words = words[:n-2]
	}
	var stdout, stderr bytes.Buffer
	code := Run(t.Context(), Options{
		Args: words, Stdin: &input, Stdout: &stdout, Stderr: &stderr, Now: now, Version: "v9.9.9",
		Env: func(name string) (string, bool) { return "unix://" + socket, name == addressEnv },
	})
	for name, text := range map[string]string{"stdout": stdout.String(), "stderr": stderr.String()} {
		if bad := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); bad >= 0 {
			t.Errorf("%q: %s has %q at %d, which terminals act on", line, name, text[bad:bad+1], bad)
		}
	}
	text := stdout.String()
	for line := range strings.Lines(stderr.String()) {
		text += "! " + line
	}
	if code != 0 {
		text += fmt.Sprintf("[exit %d]\n", code)
	}
	return text
}

// listen makes what a script wants to find at the socket.
func listen(t *testing.T, socket, kind string) {
	t.Helper()
	fake := &fakeAgent{}
	switch kind {
	case "none":
		return
	case "dead": // its socket is still there
		l := listener(t, socket)
		l.SetUnlinkOnClose(false)
		l.Close()
		return
	case "hung":
		listener(t, socket)
		return
	case "closing": // no agent at all
		l := listener(t, socket)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				conn.Close()
			}
		}()
		return
	case "running":
	case "ill":
		fake.ill = true
	case "old":
		fake.old = true
	case "empty":
		fake.empty = true
	default:
		t.Fatalf("no agent is %q", kind)
	}
	server := fake.serve()
	l := listener(t, socket)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

func listener(t *testing.T, socket string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// runWith runs one command with a context of the test's own.
func runWith(ctx context.Context, args []string, env func(string) (string, bool)) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Run(ctx, Options{Args: args, Stdin: &bytes.Buffer{}, Stdout: &out, Stderr: &errs, Now: now, Env: env})
	return code, out.String(), errs.String()
}
