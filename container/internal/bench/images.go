package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

var (
	kinds    = []string{"derived", kindBase, "mixed"}
	versions = []string{"v1", "v2"}
)

func imageDir(cache, kind, version string) string {
	return filepath.Join(cache, "images", kind+"-"+version)
}

// The layers of the derived image but the last: a package goes to the first whose prefixes have it.
var groups = []struct {
	name     string
	prefixes []string
}{
	{"kernel", []string{"linux-image", "linux-base", "initramfs", "kmod", "klibc", "libklibc"}},
	{"devel", []string{"linux-headers", "linux-kbuild", "linux-compiler", "gcc", "cpp", "binutils", "libgcc-12-dev",
		"golang-1.19", "libasan", "libtsan", "libubsan", "liblsan", "libllvm"}},
	{"browser", []string{"firefox", "libwebkit", "libjavascriptcore", "libmozjs", "libicu"}},
	{"fonts", []string{"fonts-", "adwaita", "gnome-backgrounds", "hicolor", "sound-theme", "iso-codes", "manpages", "xkb-data"}},
	{"desktop", []string{"gnome", "gir1.2", "libgtk", "libgnome", "mutter", "libmutter", "libgl", "libegl", "libx", "libwayland",
		"gstreamer", "libgst", "pipewire", "libpipewire", "libspa", "wireplumber", "libflite", "evolution", "libedata", "libecal",
		"libcamel", "libgweather", "libadwaita", "libcairo", "libpango", "libpulse", "geo", "libgeo"}},
	{"tools", []string{"git", "vim", "podman", "containernetworking", "conmon", "crun", "openssh", "perl", "libperl", "python3",
		"libpython3", "golang-github", "gnupg", "gpg", "dirmngr", "iptables"}},
	{"system", []string{""}},
}

func group(set *packageSet, name string) []lockedPackage {
	var out []lockedPackage
	for _, p := range set.system() {
		for _, g := range groups {
			if hasPrefix(p.Name, g.prefixes) {
				if g.name == name {
					out = append(out, p)
				}
				break
			}
		}
	}
	return out
}

func hasPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// system returns the packages that every kind of image has below its last layers.
func (s *packageSet) system() []lockedPackage {
	var out []lockedPackage
	for _, p := range s.packages {
		if p.Name != appPackage && !hasPrefix(p.Name, extraPackages) {
			out = append(out, p)
		}
	}
	return out
}

func (s *packageSet) named(names ...string) []lockedPackage {
	var out []lockedPackage
	for _, p := range s.packages {
		for _, name := range names {
			if p.Name == name {
				out = append(out, p)
			}
		}
	}
	return out
}

// stampOf says what the first bytes of a changed file become.
func stampOf(changed map[string]bool) func(string) string {
	return func(name string) string {
		if !changed[name] {
			return ""
		}
		h := fnv.New64a()
		h.Write([]byte(name))
		return fmt.Sprintf("update 2 %016x\n", h.Sum64())
	}
}

// makeImages makes what is missing of the images of those kinds.
func makeImages(ctx context.Context, cache, judge string, wanted []string) error {
	withBase := slices.Contains(wanted, kindBase) || slices.Contains(wanted, "mixed")
	set, err := loadPackages(ctx, cache)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	if withBase {
		g.Go(func() error { return makeBase(gctx, cache, judge, set, set.system()) })
	}
	layers := make([]*builtLayer, len(groups))
	layer := func(to **builtLayer, name string, fill func(*treeWriter) error) {
		g.Go(func() (err error) {
			*to, err = buildLayer(gctx, cache, name, 6, fill)
			return err
		})
	}
	for i := range groups {
		name := groups[len(groups)-1-i].name // the system is the lowest layer
		layer(&layers[i], name, func(t *treeWriter) error {
			if name == "system" {
				if err := t.root(); err != nil {
					return err
				}
			}
			return t.packages(gctx, set, group(set, name))
		})
	}
	app := map[string]*builtLayer{}
	var app1, app2, extra, config *builtLayer
	packages := set.named(appPackage)
	changed := map[string]bool{}
	if err := pickFiles(ctx, set, packages[0], filesPerUpdate, changed); err != nil {
		return err
	}
	layer(&app1, "app-v1", func(t *treeWriter) error { return t.packages(gctx, set, packages) })
	layer(&app2, "app-v2", func(t *treeWriter) error {
		t.change = stampOf(changed)
		return t.packages(gctx, set, packages)
	})
	layer(&extra, "extra", func(t *treeWriter) error { return t.packages(gctx, set, set.named(extraPackages...)) })
	layer(&config, "config", configLayer)
	if err := g.Wait(); err != nil {
		return err
	}
	app["v1"], app["v2"] = app1, app2
	for _, v := range versions {
		if dir := imageDir(cache, "derived", v); !exists(dir) {
			if err := newImage().write(cache, dir, nil, append(layers[:len(layers):len(layers)], app[v])); err != nil {
				return err
			}
		}
		if dir := imageDir(cache, "mixed", v); withBase && !exists(dir) {
			base, err := openLayout(imageDir(cache, kindBase, "v1"))
			if err != nil {
				return err
			}
			if err := base.write(cache, dir, base, []*builtLayer{extra, app[v], config}); err != nil {
				return err
			}
		}
	}
	if slices.Contains(wanted, kindLarge) {
		if err := makeLarge(ctx, cache); err != nil {
			return err
		}
	}
	return describeImages(cache)
}

// configLayer is what an administrator's layer has: settings, a file replaced, files and a directory removed.
func configLayer(t *treeWriter) error {
	files := []struct{ name, data string }{
		{"etc/bench.conf", "version=1\n"},
		{"etc/ssh/sshd_config.d/50-bench.conf", "PermitRootLogin no\n"},
		{"etc/sysctl.d/50-bench.conf", "kernel.sysrq=0\n"},
		{"etc/systemd/system.conf", "[Manager]\nDefaultTimeoutStopSec=20s\n"},
		{"usr/lib/systemd/system/bench.service", "[Service]\nExecStart=/usr/bin/true\n"},
		{"usr/share/doc/git/.wh.README.Debian", ""},
		{"usr/share/doc/systemd/.wh.NEWS.Debian.gz", ""},
		{"usr/share/man/.wh.man7", ""},
		{"usr/share/vim/vim90/tutor/.wh..wh..opq", ""},
		{"usr/share/vim/vim90/tutor/tutor", "see vimtutor(1)\n"},
	}
	for _, f := range files {
		if err := t.file(f.name, []byte(f.data)); err != nil {
			return err
		}
	}
	return nil
}

// imageStats is what the report says of an image.
type imageStats struct {
	Kind, Version string
	Digest        string
	Layers        int
	Compressed    int64 // bytes, all layers
}

func statImages(cache string) ([]imageStats, error) {
	var out []imageStats
	for _, kind := range append(kinds[:len(kinds):len(kinds)], kindLarge) {
		for _, v := range versions {
			l, err := openLayout(imageDir(cache, kind, v))
			if errors.Is(err, fs.ErrNotExist) {
				continue // large, unless asked for
			}
			if err != nil {
				return nil, err
			}
			s := imageStats{Kind: kind, Version: v, Digest: l.Digest.String(), Layers: len(l.Manifest.Layers)}
			for _, d := range l.Manifest.Layers {
				s.Compressed += d.Size
			}
			out = append(out, s)
		}
	}
	return out, nil
}

func describeImages(cache string) error {
	stats, err := statImages(cache)
	for _, s := range stats {
		logf("%-8s %s: %d layers, %.0f MB compressed, %s", s.Kind, s.Version, s.Layers, float64(s.Compressed)/1e6, s.Digest)
	}
	return err
}
