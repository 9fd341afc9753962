package container_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
)

// chunks makes several layers of a base.
var chunks = []ti.Component{{Name: "kernel", Prefix: "usr/lib/modules"}, {Name: "bin", Prefix: "usr/bin"}, {Name: "etc", Prefix: "usr/etc"}}

// prepareRoot adds a prepare-root.conf to the usual base.
func prepareRoot(text string) []ti.Member {
	return append(ti.BaseMembers(), ti.Dir("usr/lib/ostree", 0o755), ti.File("usr/lib/ostree/prepare-root.conf", 0o644, text))
}

func derived(members ...ti.Member) ti.Layer {
	return ti.Layer{Members: append([]ti.Member{ti.Dir("usr", 0o755)}, members...)}
}

const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// stack has everything that a derived image may have and that both sides take in the same way.
func stack() []ti.Layer {
	return []ti.Layer{
		derived(
			ti.Dir("usr/share", 0o755), ti.Dir("usr/share/app", 0o755), ti.File("usr/share/app/one", 0o644, "one"), ti.File("usr/share/app/two", 0o600, "two").Owned(5, 6),
			ti.Dir("usr/share/gone", 0o755), ti.File("usr/share/gone/x", 0o644, "x"), ti.Dir("usr/share/gone/sub", 0o700), ti.File("usr/share/gone/sub/y", 0o644, "y"),
			ti.Dir("usr/share/opaque", 0o755), ti.File("usr/share/opaque/old", 0o644, "old"), ti.Dir("usr/share/opaque/dir", 0o755), ti.File("usr/share/opaque/dir/f", 0o644, "f"),
			ti.Dir("usr/share/turns", 0o755), ti.Dir("usr/share/turns/dir-file", 0o755), ti.File("usr/share/turns/dir-file/in", 0o644, "in"),
			ti.Dir("usr/share/turns/dir-link", 0o755), ti.File("usr/share/turns/file-link", 0o644, "file"), ti.Symlink("usr/share/turns/link-file", "nowhere"),
			ti.File("usr/share/turns/file-none", 0o644, "1"), ti.Symlink("usr/share/turns/link-link", "a"),
		),
		derived(
			ti.Dir("usr/share", 0o755), ti.Whiteout("usr/share/gone"), ti.Whiteout("usr/share/nothing"),
			ti.Dir("usr/share/app", 0o755), ti.Whiteout("usr/share/app/one"), ti.File("usr/share/app/three", 0o4755, "three"),
			ti.Dir("usr/share/opaque", 0o750), ti.Opaque("usr/share/opaque"), ti.File("usr/share/opaque/new", 0o644, "new"),
			ti.Dir("usr/share/turns", 0o755), ti.File("usr/share/turns/dir-file", 0o644, "now a file"), ti.Symlink("usr/share/turns/dir-link", "dir-file"),
			ti.Symlink("usr/share/turns/file-link", "dir-file"), ti.File("usr/share/turns/link-file", 0o644, "now a file"),
			ti.Whiteout("usr/share/turns/file-none"), ti.Symlink("usr/share/turns/link-link", "b"),
			ti.Dir("etc", 0o755), ti.Whiteout("etc/passwd"), ti.File("etc/new.conf", 0o640, "new\n").Owned(0, 42), ti.Dir("etc/private", 0o755), ti.Whiteout("etc/private/key"),
		),
		derived(
			ti.Dir("usr/bin", 0o755), ti.File("usr/bin/tool", 0o755, "tool").With("security.capability", capability), ti.Hardlink("usr/bin/alias", "usr/bin/tool"),
			ti.Dir("usr/share", 0o755), ti.File("usr/share/user", 0o644, "u").With("user.comment", "a value"), ti.Dir("usr/share/dirx", 0o1777).With("user.dir", "d"),
			ti.Dir("etc", 0o755), ti.File("etc/orig", 0o644, "orig"), ti.Hardlink("etc/linked", "etc/orig"), ti.Hardlink("usr/share/into-etc", "/etc/orig"),
			ti.File("usr/share/"+strings.Repeat("long", 60), 0o644, "long name"), ti.File("usr/share/Főtanúsítvány.pem", 0o644, "pem"), ti.File("usr/share/ space", 0o644, ""),
			ti.Symlink("usr/share/long-target", strings.Repeat("x/", 80)+"y"), ti.File("usr/share/setgid", 0o2711, "g").Owned(0, 8),
		),
		derived(
			ti.Dir("opt", 0o755), ti.File("opt/app", 0o755, "app"), ti.Dir("run", 0o755), ti.File("run/pid", 0o644, "1"), ti.Dir("run/lock", 0o755), ti.File("run/lock/l", 0o644, "1"),
			ti.Dir("tmp", 0o1777), ti.File("tmp/junk", 0o644, "junk"), ti.Dir("srv", 0o755), ti.Dir("usr/share", 0o755), ti.Dir("usr/share/factory", 0o755), ti.Dir("var", 0o755), ti.Dir("var/lib", 0o755), ti.File("var/lib/db", 0o600, "db"),
			ti.File("top", 0o644, "top"),
		),
		{Members: []ti.Member{}},
	}
}

func withCompression(layers []ti.Layer, how ...ti.Compression) []ti.Layer {
	for i := range layers {
		layers[i].Compression = how[i%len(how)]
	}
	return layers
}

// Every image that the judge can import gives the same refs, layers, merged
// tree and metadata.
func interopImages(t *testing.T, p programs) {
	single := ti.EncapsulatedBase(t, ti.BaseOptions{Bootable: true})
	chunked := ti.EncapsulatedBase(t, ti.BaseOptions{Bootable: true, Components: chunks, Encapsulate: []string{"--label", "a=b"}})
	with := func(conf string) *ti.Base {
		return &ti.EncapsulatedBase(t, ti.BaseOptions{Members: prepareRoot(conf)}).Base
	}
	same := stack()[:1]
	again := derived(ti.Dir("usr/share", 0o755), ti.File("usr/share/again", 0o644, "again"))
	for _, c := range []struct {
		name  string
		image ti.Image
	}{
		{"base", ti.Image{Base: &single.Base}},
		{"base with chunks", ti.Image{Base: &chunked.Base}},
		{"derived", ti.Image{Base: &single.Base, Layers: stack()}},
		{"derived from chunks", ti.Image{Base: &chunked.Base, Layers: stack()}},
		{"gzip at level 1", ti.Image{Base: &chunked.Base, Layers: withCompression(stack(), ti.GzipFast)}},
		{"zstd", ti.Image{Base: &chunked.Base, Layers: withCompression(stack(), ti.Zstd)}},
		{"zstd frames", ti.Image{Base: &chunked.Base, Layers: withCompression(stack(), ti.ZstdFrames)}},
		{"plain tar", ti.Image{Base: &chunked.Base, Layers: withCompression(stack(), ti.None)}},
		{"mixed", ti.Image{Base: &chunked.Base, Layers: withCompression(stack(), ti.Gzip, ti.Zstd, ti.None)}},
		{"composefs yes", ti.Image{Base: with("[composefs]\nenabled=yes\n"), Layers: stack()}},
		{"composefs maybe", ti.Image{Base: with("[composefs]\nenabled=maybe\n"), Layers: stack()}},
		{"composefs signed", ti.Image{Base: with("[composefs]\nenabled=signed\n"), Layers: stack()}},
		{"composefs no", ti.Image{Base: with("[composefs]\nenabled=no\n"), Layers: stack()}},
		{"transient root", ti.Image{Base: with("[root]\ntransient=true\n"), Layers: stack()}},
		{"root not transient", ti.Image{Base: with("[root]\ntransient=false\n"), Layers: stack()}},
		{"prepare-root.conf in a layer does not count", ti.Image{Base: &single.Base, Layers: append([]ti.Layer{derived(
			ti.Dir("usr/lib", 0o755), ti.Dir("usr/lib/ostree", 0o755), ti.File("usr/lib/ostree/prepare-root.conf", 0o644, "[root]\ntransient=true\n"))}, stack()...)}},
		{"a layer twice", ti.Image{Base: &single.Base, Layers: []ti.Layer{again, derived(ti.Dir("usr/share", 0o755), ti.Whiteout("usr/share/again")), again}}},
		{"created with offset", ti.Image{Base: &single.Base, Layers: same, Created: "2025-12-31T23:59:59.987654321-11:30"}},
		{"created in the manifest", ti.Image{Base: &single.Base, Layers: same, Annotations: map[string]string{"org.opencontainers.image.created": "2024-02-29T12:00:00+01:00"}}},
		{"not created", ti.Image{Base: &single.Base, Layers: same, Created: "-"}},
		{"labels and annotations", ti.Image{
			Base: &chunked.Base, Layers: same, EmptyHistory: 2,
			Labels: map[string]string{"org.opencontainers.image.version": "1.2", "odd": "<&>\u2028é\x01\"\\/"}, Annotations: map[string]string{"note": "<b>é\u2029"},
		}},
		{"overlapping owners", ti.Image{Base: &single.Base, Layers: []ti.Layer{derived(ti.Dir("etc", 0o711).Owned(3, 4), ti.Dir("usr/bin", 0o700)), // B23 matched
			{Members: []ti.Member{ti.Dir("usr", 0o700).Owned(9, 9).With("user.d", "x"), ti.Dir("usr/bin", 0o711), ti.File("usr/bin/sh", 0o700, "other").Owned(3_000_000, 65534)}}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p.pulledAlike(t, c.image.Write(t, t.TempDir(), "latest"))
		})
	}
}

// copied is an image that skopeo copied to another transport, perhaps with another manifest.
func copied(t *testing.T, w *ti.Written, transport string, args ...string) *ti.Written {
	t.Helper()
	to := *w
	path := filepath.Join(t.TempDir(), "copy")
	to.Ref = transport + ":" + path
	ti.Run(t, "skopeo", append(append([]string{"copy", "--quiet"}, args...), w.Ref, to.Ref)...)
	if transport == "dir" {
		var err error
		to.RawManifest, err = os.ReadFile(path + "/manifest.json")
		require.NoError(t, err)
		to.Manifest, to.Config = ocispec.Manifest{}, ocispec.Image{}
		require.NoError(t, json.Unmarshal(to.RawManifest, &to.Manifest))
		config, err := os.ReadFile(path + "/" + to.Manifest.Config.Digest.Encoded())
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(config, &to.Config))
		to.Descriptor.Digest = digest.FromBytes(to.RawManifest)
	}
	return &to
}

// Other transports and manifests than those of an OCI directory.
func interopTransports(t *testing.T, p programs) {
	w := ti.Image{Base: bigBase(t), Layers: stack()}.Write(t, t.TempDir(), "latest")
	for _, c := range []struct {
		name, transport string
		args            []string
	}{
		{"dir", "dir", nil},
		{"dir with a docker manifest", "dir", []string{"--format=v2s2"}},
		{"oci-archive", "oci-archive", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p.pulledAlike(t, copied(t, w, c.transport, c.args...))
		})
	}
	t.Run("index", func(t *testing.T) {
		t.Parallel()
		ref, _, instances, err := ti.WriteIndex(t.TempDir(), "latest", ti.IndexEntry{Image: ti.Image{Base: bigBase(t), Layers: stack()[:1], Architecture: "s390x"}},
			ti.IndexEntry{Image: ti.Image{Base: bigBase(t), Layers: stack()[:2]}})
		require.NoError(t, err)
		instances[1].Ref = ref
		p.pulledAlike(t, instances[1])
	})
}

// quietMembers is a tree whose names do not meet those of random layers more than needed: where a layer turns a directory of
// it into something else or the other way round, the judge fails or follows symlinks (B19, B20).
func quietMembers(conf string) []ti.Member {
	members := []ti.Member{
		ti.Dir("./", 0o755), ti.Dir("boot", 0o755), ti.Dir("sysroot", 0o755), ti.Symlink("ostree", "sysroot/ostree"),
		ti.Dir("usr", 0o755), ti.Dir("usr/libexec", 0o755), ti.File("usr/libexec/x", 0o755, "x"), ti.Dir("usr/etc", 0o755), ti.File("usr/etc/passwd", 0o644, "root\n"),
		ti.Dir("usr/share", 0o755), ti.File("usr/share/data", 0o644, "data"),
	}
	if conf != "" {
		members = append(members, ti.Dir("usr/lib", 0o755), ti.Dir("usr/lib/ostree", 0o755), ti.File("usr/lib/ostree/prepare-root.conf", 0o644, conf))
	}
	return members
}

func quietBase(t testing.TB, conf string) *ti.EncapsulatedImage {
	return ti.EncapsulatedBase(t, ti.BaseOptions{Members: quietMembers(conf), Components: []ti.Component{
		{Name: "share", Prefix: "usr/share"}, {Name: "etc", Prefix: "usr/etc"}, {Name: "libexec", Prefix: "usr/libexec"},
	}})
}

// meets says whether a stack has usr/lib as anything but a directory.
func meets(layers []ti.Layer) bool {
	for _, l := range layers {
		for _, m := range l.Members {
			name := strings.Trim(m.Name, "/.")
			if name == "usr/lib" && m.Type != ti.TypeDir || name == "usr/.wh.lib" || strings.HasPrefix(name, "usr/lib/ostree") {
				return true
			}
		}
	}
	return false
}

// tame takes out of random layers what the judge gets wrong (interopDifferences has it): PAX paths of what moves, symlink
// targets with "//", hardlinks to what moves or is filtered.
func tame(layers []ti.Layer) {
	for n := range layers {
		l := &layers[n]
		l.Members = slices.DeleteFunc(l.Members, func(m ti.Member) bool {
			top, _, _ := strings.Cut(strings.TrimLeft(m.Linkname, "./"), "/")
			return m.Type == ti.TypeHardlink && top != "usr" && top != "etc"
		})
		for i := range l.Members {
			m := &l.Members[i]
			switch top, _, _ := strings.Cut(strings.TrimLeft(m.Name, "./"), "/"); {
			case top == "etc" || top == "var":
				m.Format = ti.FormatGNU
			case m.Format == ti.FormatPAX:
				m.Format = ti.FormatAuto
			}
			if m.Type == ti.TypeSymlink {
				m.Linkname = strings.ReplaceAll(m.Linkname, "//", "/")
			}
		}
	}
}

// randomImages is how many random images are compared at least.
const randomImages = 66

func interopRandom(t *testing.T, p programs) {
	bases := []struct {
		name string
		base *ti.EncapsulatedImage
	}{{"plain", quietBase(t, "")}, {"overlay", quietBase(t, "[composefs]\nenabled=yes\n")}}
	found := 0
	for seed := uint64(50_000); found < randomImages; seed++ {
		layers := ti.Random(seed, ti.RandomOptions{Features: ti.ReferenceSafe(), MinLayers: 1, MaxLayers: 5})
		if meets(layers) {
			continue
		}
		tame(layers)
		b := bases[found%len(bases)]
		found++
		t.Run(fmt.Sprintf("%s_%d", b.name, seed), func(t *testing.T) {
			t.Parallel()
			p.pulledAlike(t, ti.Image{Base: &b.base.Base, Layers: layers}.Write(t, t.TempDir(), "latest"))
		})
	}
}

// Images that 0.15.3 refuses and newer bootc takes: no layer is ostree's own.
func interopOnlyOurs(t *testing.T, p programs) {
	w := ti.Image{Layers: stack(), NoHistory: true}.Write(t, t.TempDir(), "latest")
	withHistory := ti.Image{Layers: stack()}.Write(t, t.TempDir(), "latest")
	_, stderr, err := p.judge.try("pull", "--quiet", bareRepo(t), unverifiedImage+withHistory.Ref)
	require.Error(t, err)
	assert.Contains(t, stderr, "No ostree.final-diffid label found, not an ostree encapsulated container")
	repo := bareRepo(t)
	_, merge := p.ours.pull(t, repo, w.Ref)
	refs, commits := snapshot(t, repo)
	assert.ElementsMatch(t, refsOf(t, w), keys(refs))
	assert.Empty(t, commits[merge].Parent)
	// What the judge can do with it in a shared repository, though the config has no history (B41).
	assert.Equal(t, w.Ref+"\n", p.judge.run(t, "list", "--repo="+repo))
	assert.Equal(t, "Removed layers: 0\n", p.judge.run(t, "prune-layers", "--repo="+repo))
	for _, more := range [][]string{{}, {"--config"}} {
		args := append([]string{"metadata", "--repo=" + repo, w.Ref}, more...)
		assert.JSONEq(t, p.ours.run(t, args...), p.judge.run(t, args...))
	}
	assert.Equal(t, fmt.Sprintf("Removed images: 1 layers: %d\n", len(w.Manifest.Layers)), p.judge.run(t, "remove", "--repo="+repo, w.Ref))
}
