// SPDX-License-Identifier: Apache-2.0

//go:build linux

package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// MirrorVariable is the address of a Debian archive. If it is not set, packages
// come from where this machine's own come from.
const MirrorVariable = "BOLTSEAL_LAB_MIRROR"

// keyring has the keys that apt checks a release's signature with.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// archive is a Debian release as apt sees it, apart from this machine's own: its
// lists are those of the release, and nothing is installed.
type archive struct {
	suite string
	dir   string
}

// archive returns a Debian release; its lists are fetched when something is asked.
func (c *Cache) archive(suite string) *archive {
	return &archive{suite: suite, dir: filepath.Join(c.Dir, "apt", suite)}
}

// apt runs a command of apt on the release, and returns what it writes.
func (a *archive) apt(ctx context.Context, dir, command string, args ...string) (string, error) {
	options := []string{
		"-q",
		"-o", "Dir::Etc=" + filepath.Join(a.dir, "etc"),
		"-o", "Dir::Etc::sourcelist=" + filepath.Join(a.dir, "etc/sources.list"),
		"-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "Dir::State=" + a.dir,
		"-o", "Dir::State::status=" + filepath.Join(a.dir, "status"),
		"-o", "Dir::Cache=" + filepath.Join(a.dir, "cache"),
		"-o", "APT::Architecture=amd64", "-o", "APT::Architectures=amd64",
		"-o", "APT::Sandbox::User=root", // the cache may be where no other user can go
		"-o", "Acquire::Languages=none",
	}
	cmd := exec.CommandContext(ctx, command, append(options, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s (%s): %w\n%s", command, strings.Join(args, " "), a.suite, err, tail(errs.String(), 2000))
	}
	return out.String(), nil
}

// update fetches the release's lists and checks their signature.
func (a *archive) update(ctx context.Context) error {
	mirror, err := debianMirror(ctx)
	if err != nil {
		return err
	}
	for _, dir := range []string{"etc/preferences.d", "lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			return err
		}
	}
	source := fmt.Sprintf("deb [arch=amd64 signed-by=%s] %s %s main\n", keyring, mirror, a.suite)
	return errors.Join(
		os.WriteFile(filepath.Join(a.dir, "etc/sources.list"), []byte(source), 0o644),
		os.WriteFile(filepath.Join(a.dir, "status"), nil, 0o644),
		func() error {
			// Without it what cannot be fetched is a warning.
			_, err := a.apt(ctx, "", "apt-get", "--error-on=any", "update")
			return err
		}(),
	)
}

// closure returns the packages that must be there for the named ones to work, in
// the order of their names, themselves among them.
func (a *archive) closure(ctx context.Context, packages ...string) ([]string, error) {
	plan, err := a.apt(ctx, "", "apt-get", append([]string{"--simulate", "--no-install-recommends", "install"}, packages...)...)
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(plan) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "Inst" {
			all = append(all, fields[1])
		}
	}
	if len(all) < len(packages) {
		return nil, fmt.Errorf("apt-get plans to install %d packages for %d:\n%s", len(all), len(packages), tail(plan, 2000))
	}
	slices.Sort(all)
	return all, nil
}

// download fetches packages into dir and returns their files. Apt checks them
// against the signed lists.
func (a *archive) download(ctx context.Context, dir string, packages ...string) ([]string, error) {
	if _, err := a.apt(ctx, dir, "apt-get", append([]string{"download"}, packages...)...); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err == nil && len(files) != len(packages) {
		err = fmt.Errorf("apt-get fetched %d files for %d packages", len(files), len(packages))
	}
	return files, err
}

// unpack puts the files of packages into dir; their scripts do not run.
func unpack(ctx context.Context, dir string, debs ...string) error {
	for _, deb := range debs {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "--extract", deb, dir).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w\n%s", filepath.Base(deb), err, out)
		}
	}
	return nil
}

// debianMirror returns the address that this machine's own release comes from.
func debianMirror(ctx context.Context) (string, error) {
	if mirror := os.Getenv(MirrorVariable); mirror != "" {
		return mirror, nil
	}
	own, err := releaseName("/etc/os-release")
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("list the sources of apt: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if release, uri, found := strings.Cut(strings.TrimSpace(line), " "); found && release == own {
			return strings.TrimSuffix(uri, "/"), nil
		}
	}
	return "", fmt.Errorf("apt has no source of Debian %s: set %s to the address of a Debian archive", own, MirrorVariable)
}

// releaseName returns the code name of this machine's Debian release.
func releaseName(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	values := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		values[key] = strings.Trim(value, `"`)
	}
	if values["ID"] != "debian" || values["VERSION_CODENAME"] == "" {
		return "", fmt.Errorf("this is not a release of Debian (%s): set %s to the address of a Debian archive", values["PRETTY_NAME"], MirrorVariable)
	}
	return values["VERSION_CODENAME"], nil
}

// tail returns the end of a text, whole lines of it.
func tail(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	text = text[len(text)-limit:]
	if _, rest, found := strings.Cut(text, "\n"); found {
		return rest
	}
	return text
}
