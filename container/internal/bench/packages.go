package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

// The system: these packages and everything they depend on.
var systemPackages = []string{
	"systemd", "systemd-sysv", "linux-image-amd64", "base-files", "bash", "coreutils", "dpkg", "apt", "util-linux",
	"login", "passwd", "openssh-server", "git", "python3", "vim", "firefox-esr", "gnome-shell", "gcc", "podman",
	"python3-numpy", "golang-1.19-src", "linux-headers-amd64", "manpages", "fonts-noto-core",
}

// What the first derived layer of the mixed image adds, without dependencies.
var extraPackages = []string{"libreoffice-common", "hunspell-en-us"}

// The package that is a derived layer of its own, the one that the updates of such layers change.
const appPackage = "python3-numpy"

// The packages that the update of the base changes.
var updatedPackages = []string{"git", "libgtk-3-common", "libpython3.11-stdlib", "systemd"}

// lockedPackage is one line of packages.lock.
type lockedPackage struct{ Name, Version string }

// packageSet is what the images are made of.
type packageSet struct {
	dir      string
	packages []lockedPackage
}

// loadPackages reads the lock file of the cache, or resolves the packages and writes it, and downloads what is missing.
func loadPackages(ctx context.Context, cache string) (*packageSet, error) {
	set := &packageSet{dir: filepath.Join(cache, "debs")}
	if err := os.MkdirAll(set.dir, 0o755); err != nil {
		return nil, err
	}
	lock := filepath.Join(cache, "packages.lock")
	data, err := os.ReadFile(lock)
	switch {
	case err == nil:
		set.packages, err = parseLock(data)
	case errors.Is(err, fs.ErrNotExist):
		set.packages, err = resolvePackages(ctx, cache)
	}
	if err != nil {
		return nil, err
	}
	if err := set.download(ctx); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, p := range set.packages {
		fmt.Fprintf(&b, "%s %s\n", p.Name, p.Version)
	}
	return set, writeFile(lock, b.Bytes())
}

func parseLock(data []byte) ([]lockedPackage, error) {
	var out []lockedPackage
	for line := range strings.Lines(string(data)) {
		name, version, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			return nil, fmt.Errorf("packages.lock: bad line %q", line)
		}
		out = append(out, lockedPackage{name, version})
	}
	return out, nil
}

// resolvePackages asks apt what it would install into an empty system.
func resolvePackages(ctx context.Context, cache string) ([]lockedPackage, error) {
	status := filepath.Join(cache, "empty-status")
	if err := writeFile(status, nil); err != nil {
		return nil, err
	}
	simulate := func(packages []string) ([]lockedPackage, error) {
		args := []string{"-s", "-qq", "--no-install-recommends", "-o", "Dir::State::status=" + status, "install"}
		out, err := output(exec.CommandContext(ctx, "apt-get", append(args, packages...)...))
		if err != nil {
			return nil, err
		}
		var found []lockedPackage
		for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
			// Inst NAME (VERSION ORIGIN [ARCH])
			f := strings.Fields(s.Text())
			if len(f) > 2 && f[0] == "Inst" {
				found = append(found, lockedPackage{f[1], strings.TrimPrefix(f[2], "(")})
			}
		}
		return found, nil
	}
	out, err := simulate(systemPackages)
	if err != nil {
		return nil, err
	}
	extra, err := simulate(extraPackages)
	if err != nil {
		return nil, err
	}
	for _, p := range extra {
		for _, name := range extraPackages {
			if p.Name == name {
				out = append(out, p)
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	if len(out) < 100 {
		return nil, fmt.Errorf("apt-get knows only %d packages: run apt-get update", len(out))
	}
	return out, nil
}

// path returns the file of p as apt-get download names it.
func (s *packageSet) path(p lockedPackage) (string, error) {
	pattern := fmt.Sprintf("%s_%s_*.deb", p.Name, strings.ReplaceAll(p.Version, ":", "%3a"))
	m, err := filepath.Glob(filepath.Join(s.dir, pattern))
	if err != nil {
		return "", err
	}
	if len(m) != 1 {
		return "", fmt.Errorf("%s: %d files: %w", pattern, len(m), fs.ErrNotExist)
	}
	return m[0], nil
}

func (s *packageSet) download(ctx context.Context) error {
	var missing []string
	for _, p := range s.packages {
		if _, err := s.path(p); err != nil {
			missing = append(missing, p.Name+"="+p.Version)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	logf("downloading %d packages", len(missing))
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-qq", "download"}, missing...)...)
	cmd.Dir = s.dir
	if _, err := output(cmd); err != nil {
		return fmt.Errorf("%w (a version that left the archive? remove packages.lock to take the current ones)", err)
	}
	for _, p := range s.packages {
		if _, err := s.path(p); err != nil {
			return err
		}
	}
	return nil
}

// output runs cmd and returns its standard output; an error carries the end of standard error.
func output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(head(cmd.Args, 6), " "), err, tail(stderr.String(), 600))
	}
	return stdout.Bytes(), nil
}

func head(s []string, n int) []string { return s[:min(n, len(s))] }

func tail(s string, n int) string {
	s = strings.TrimSpace(s)
	return s[max(0, len(s)-n):]
}

// writeFile replaces name at once.
func writeFile(name string, data []byte) error {
	if err := os.WriteFile(name+".tmp", data, 0o644); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

func logf(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
