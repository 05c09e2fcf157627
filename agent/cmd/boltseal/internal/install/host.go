// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// runTime bounds each program that is asked.
const runTime = 20 * time.Second

// host is the machine, or the image of one, that runtimes are looked for on.
type host struct {
	disk *disk
	// binDir is where boltseal's programs are, as the host's programs see it.
	binDir string
	// run runs a program of the host and returns all its output; nil for an image,
	// whose programs are not run.
	run func(ctx context.Context, name string, args ...string) ([]byte, error)
}

func runProgram(ctx context.Context, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return out, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, lastLine(out))
	}
	return out, nil
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// searchDirs is where service managers look for programs.
func searchDirs() []string {
	return []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
}

// look finds a program of the host; empty when there is none.
func (h *host) look(name string) string {
	for _, dir := range searchDirs() {
		if h.executable(path.Join(dir, name)) {
			return path.Join(dir, name)
		}
	}
	return ""
}

func (h *host) executable(name string) bool {
	where, err := h.resolve(name)
	if err != nil {
		return false
	}
	info, err := os.Stat(where)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// resolve follows the last element of a path too.
func (h *host) resolve(name string) (string, error) {
	where, err := h.disk.at(path.Join(name, "."))
	for range maxLinks {
		if err != nil {
			return "", err
		}
		target, isLink := readLink(where)
		if !isLink {
			return where, nil
		}
		if path.IsAbs(target) {
			name = target
		} else {
			name = path.Join(path.Dir(name), target)
		}
		where, err = h.disk.at(name)
	}
	return "", fmt.Errorf("%s: too many links", name)
}

func readLink(where string) (string, bool) {
	target, err := os.Readlink(where)
	return target, err == nil
}

// same tells whether two paths are one file.
func (h *host) same(a, b string) bool {
	x, errX := h.resolve(a)
	y, errY := h.resolve(b)
	return errX == nil && errY == nil && x == y
}

func (h *host) exists(name string) bool {
	where, err := h.disk.at(name)
	if err != nil {
		return false
	}
	_, err = os.Lstat(where)
	return err == nil
}

// version is what a program says of itself.
type version struct {
	text         string
	major, minor int
}

// versionOf asks a program; the zero value when it cannot be asked or says
// nothing that is known.
func (h *host) versionOf(ctx context.Context, program string) version {
	if h.run == nil || program == "" {
		return version{}
	}
	out, err := h.run(ctx, program, "--version")
	if err != nil {
		return version{}
	}
	return parseVersion(string(out))
}

func parseVersion(text string) version {
	// "Docker version 28.5.2, build ...", "containerd github.com/containerd/containerd v1.7.24",
	// "podman version 5.4.2", "crio version 1.31.0"
	found := regexp.MustCompile(`(?:^|[\sv])v?(\d+)\.(\d+)(?:\.\d+)?(?:[-~+][0-9A-Za-z.~+-]*)?`).FindStringSubmatch(text)
	if found == nil {
		return version{}
	}
	major, errMajor := strconv.Atoi(found[1])
	minor, errMinor := strconv.Atoi(found[2])
	if errMajor != nil || errMinor != nil {
		return version{}
	}
	return version{text: strings.TrimPrefix(strings.TrimSpace(found[0]), "v"), major: major, minor: minor}
}

// unitLines returns the lines of a unit of systemd that start the service, with
// those of its drop-ins.
func (h *host) unitLines(unit string) ([]string, error) {
	var lines []string
	for _, dir := range []string{"/lib/systemd/system", "/usr/lib/systemd/system", "/etc/systemd/system"} {
		files, err := h.disk.glob(path.Join(dir, unit+".d", "*.conf"))
		if err != nil {
			return nil, err
		}
		for _, name := range append([]string{path.Join(dir, unit)}, files...) {
			where, err := h.resolve(name)
			if err != nil {
				return nil, err
			}
			text, err := os.ReadFile(where)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			joined := strings.ReplaceAll(string(text), "\\\n", " ")
			for line := range strings.Lines(joined) {
				if value, found := strings.CutPrefix(strings.TrimSpace(line), "ExecStart="); found {
					lines = append(lines, value)
				}
			}
		}
	}
	return lines, nil
}

// runningPID returns the process that a pid file names, when it runs the program.
func (h *host) runningPID(pidFile, program string) (int, bool) {
	where, err := h.disk.at(pidFile)
	if err != nil {
		return 0, false
	}
	text, err := os.ReadFile(where)
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0, false
	}
	comm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	return pid, err == nil && strings.TrimSpace(string(comm)) == program
}

// hook is boltseal-hook as the host's programs see it.
func (h *host) hook() string { return path.Join(h.binDir, hookName) }

const (
	hookName   = "boltseal-hook"
	pluginName = "boltseal-nri"
	// settingsFile is read by the hook, under whatever name it is called.
	settingsFile = "/etc/boltseal/hook.json"
)
