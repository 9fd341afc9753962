package container_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// version is version n of an image: the layers of the one before, the last one
// exchanged, and one more.
func version(t testing.TB, base *ti.Base, dir string, n int) *ti.Written {
	t.Helper()
	img := ti.Image{Base: base, Bootable: true, Labels: map[string]string{"org.opencontainers.image.version": fmt.Sprint(n)}}
	for i := range n {
		img.Layers = append(img.Layers, derived(ti.Dir("usr/share", 0o755), ti.Dir("usr/share/layers", 0o755),
			ti.File(fmt.Sprintf("usr/share/layers/%d", i), 0o644, fmt.Sprintf("layer %d", i)), ti.Dir("opt", 0o755)))
	}
	img.Layers = append(img.Layers, derived(ti.Dir("usr/share", 0o755), ti.File("usr/share/version", 0o644, fmt.Sprint("version ", n)),
		ti.Dir("usr/bin", 0o755), ti.Whiteout("usr/bin/su")))
	return img.Write(t, dir, "latest")
}

// bigBase is a bootable base of several layers.
func bigBase(t testing.TB) *ti.Base {
	return &ti.EncapsulatedBase(t, ti.BaseOptions{Bootable: true, Components: chunks}).Base
}

// said is what a pull prints about the layers.
func said(w *ti.Written, present, needed int, result string) []string {
	lines := []string{}
	if needed > 0 {
		var size int64
		for _, l := range w.Manifest.Layers[len(w.Manifest.Layers)-needed:] {
			size += l.Size
		}
		lines = append(lines, fmt.Sprintf("layers already present: %d; layers needed: %d (%d bytes)", present, needed, size))
	}
	return append(lines, result+" "+unverifiedImage+w.Ref)
}

// interopShared: a repository that one program wrote is listed, shown, pulled
// again, updated, and emptied by the other.
func interopShared(t *testing.T, p programs) {
	base := bigBase(t)
	p.each(t, func(t *testing.T, first, second program) {
		dir, repo := t.TempDir(), bareRepo(t)
		v1 := version(t, base, dir, 1)
		first.pull(t, repo, v1.Ref)
		refs, commits := snapshot(t, repo)

		// Read.
		for _, args := range [][]string{{"list"}, {"history", v1.Ref}} {
			args = append(args, "--repo="+repo)
			assert.Equal(t, strings.Fields(first.run(t, args...)), strings.Fields(second.run(t, args...)), "%s", args)
		}
		for _, args := range [][]string{{"metadata", v1.Ref}, {"metadata", "--config", v1.Ref}} {
			args = append(args, "--repo="+repo)
			assert.JSONEq(t, first.run(t, args...), second.run(t, args...), "%s", args)
		}

		// Pulled again: nothing is done, whoever asks.
		for _, again := range []program{second, first} {
			lines, merge := again.pull(t, repo, v1.Ref)
			assert.Equal(t, said(v1, 0, 0, "No changes in"), lines)
			assert.Equal(t, refs[imageRefName(t, v1.Ref)], merge)
		}
		sameRefs, sameCommits := snapshot(t, repo)
		assert.Equal(t, refs, sameRefs)
		assert.Equal(t, commits, sameCommits)

		// Updated: only what is new is fetched; the old layers keep their commits.
		v2 := version(t, base, dir, 2)
		lines, merge := second.pull(t, repo, v2.Ref)
		assert.Equal(t, said(v2, len(v1.Manifest.Layers)-1, 2, "Wrote:"), lines[3:], "after the three lines of what changed")
		oracle.Fsck(t, repo)
		updated, _ := snapshot(t, repo)
		assert.ElementsMatch(t, refsOf(t, v2), keys(updated), "the layer that v2 lacks is collected")
		for _, l := range v2.Manifest.Layers[:len(v2.Manifest.Layers)-2] {
			assert.Equal(t, refs[blobRef(t, l.Digest.String())], updated[blobRef(t, l.Digest.String())])
		}
		assert.Equal(t, freshTree(t, first, v2), treeOf(t, repo, merge))

		// A second image that shares layers; removing one leaves the layers of the other.
		other := version(t, base, t.TempDir(), 3)
		first.pull(t, repo, other.Ref)
		have, _ := snapshot(t, repo)
		assert.ElementsMatch(t, refsOf(t, v2, other), keys(have))
		assert.Equal(t, sorted(first.run(t, "list", "--repo="+repo)), sorted(second.run(t, "list", "--repo="+repo)))
		assert.Equal(t, "Removed images: 1 layers: 2\n", second.run(t, "remove", "--repo="+repo, other.Ref))
		have, _ = snapshot(t, repo)
		assert.Equal(t, updated, have)
		assert.Equal(t, "Removed images: 1\n", first.run(t, "remove", "--skip-gc", "--repo="+repo, v2.Ref))
		assert.Equal(t, fmt.Sprintf("Removed layers: %d\n", len(v2.Manifest.Layers)), second.run(t, "prune-layers", "--repo="+repo))
		have, _ = snapshot(t, repo)
		assert.Empty(t, have)
		oracle.Fsck(t, repo)
	})
}

func sorted(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	slices.Sort(lines)
	return lines
}

// freshTree is the root of the merge commit of an image pulled into a new repository.
func freshTree(t testing.TB, p program, w *ti.Written) [2]string {
	t.Helper()
	repo := bareRepo(t)
	_, merge := p.pull(t, repo, w.Ref)
	return treeOf(t, repo, merge)
}

func treeOf(t testing.TB, dir, commit string) [2]string {
	t.Helper()
	repo, err := ostree.OpenRepo(t.Context(), dir)
	require.NoError(t, err)
	defer func() { assert.NoError(t, repo.Close()) }()
	c := readCommit(t, repo, commit)
	return [2]string{c.Tree, c.Meta}
}

// interopAlternating: five updates of one image, each by the other program.
func interopAlternating(t *testing.T, p programs) {
	base := bigBase(t)
	p.each(t, func(t *testing.T, first, second program) {
		dir, repo := t.TempDir(), bareRepo(t)
		turns := []program{first, second}
		layers := map[string]string{} // commit by ref, as first written
		for n := 1; n <= 6; n++ {     // a pull and five updates
			now, other := turns[(n+1)%2], turns[n%2]
			w := version(t, base, dir, n)
			lines, merge := now.pull(t, repo, w.Ref)
			if n == 1 {
				lines = lines[1:] // the size is not in bytes
				assert.Equal(t, said(w, 0, 0, "Wrote:"), lines)
			} else {
				assert.Equal(t, said(w, len(w.Manifest.Layers)-2, 2, "Wrote:"), lines[3:], "update %d by %s", n-1, now.name)
			}
			oracle.Fsck(t, repo)
			refs, commits := snapshot(t, repo)
			assert.ElementsMatch(t, refsOf(t, w), keys(refs), "update %d by %s", n-1, now.name)
			assert.Equal(t, merge, refs[imageRefName(t, w.Ref)])
			for ref, commit := range refs {
				if had, ok := layers[ref]; ok && strings.Contains(ref, "/blob/") {
					assert.Equal(t, had, commit, "update %d by %s: a layer was imported again", n-1, now.name)
				}
				layers[ref] = commit
			}
			assert.Equal(t, [2]string{commits[merge].Tree, commits[merge].Meta}, freshTree(t, other, w), "update %d by %s", n-1, now.name)
			said, same := other.pull(t, repo, w.Ref)
			assert.Equal(t, []string{"No changes in " + unverifiedImage + w.Ref}, said)
			assert.Equal(t, merge, same)
		}
		// What the updates left behind is unreachable, and prunes.
		ti.Run(t, "ostree", "--repo="+repo, "prune", "--refs-only", "--depth=0")
		oracle.Fsck(t, repo)
	})
}

// interopCachedUpdate: an update that one program saw (--check) is known to the other, and forgotten when it is pulled.
func interopCachedUpdate(t *testing.T, p programs) {
	base := bigBase(t)
	p.each(t, func(t *testing.T, first, second program) {
		dir, repo := t.TempDir(), bareRepo(t)
		v1 := version(t, base, dir, 1)
		_, old := first.pull(t, repo, v1.Ref)
		v2 := version(t, base, dir, 2)
		for _, checker := range []program{first, second} {
			file := filepath.Join(t.TempDir(), "manifest.json")
			checker.run(t, "pull", "--check="+file, repo, unverifiedImage+v1.Ref)
			manifest, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.JSONEq(t, string(v2.RawManifest), string(manifest), checker.name)
			state := query(t, repo, v1.Ref)
			assert.Equal(t, old, state.MergeCommit)
			require.NotNil(t, state.CachedUpdate, checker.name)
			assert.Equal(t, v2.Digest(), state.CachedUpdate.ManifestDigest)
			assert.Equal(t, "2", state.CachedUpdate.Version())
			got, err := json.Marshal(state.CachedUpdate.Manifest)
			require.NoError(t, err)
			assert.JSONEq(t, string(v2.RawManifest), string(got))
			// The same keys with the same values, whoever wrote them.
			assert.Equal(t, map[string]any{
				"ostree-ext.cached.manifest-digest": v2.Digest().String(),
				"ostree-ext.cached.manifest":        parsed(t, v2.RawManifest),
				"ostree-ext.cached.config":          parsed(t, v2.RawConfig),
			}, detachedStrings(t, repo, old), checker.name)
		}
		_, merge := second.pull(t, repo, v1.Ref)
		assert.Nil(t, query(t, repo, v1.Ref).CachedUpdate)
		assert.NotEqual(t, old, merge)
		oracle.Fsck(t, repo)
	})
}

func parsed(t testing.TB, doc []byte) any {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal(doc, &v))
	return v
}

func detachedStrings(t testing.TB, dir, commit string) map[string]any {
	t.Helper()
	repo, err := ostree.OpenRepo(t.Context(), dir)
	require.NoError(t, err)
	defer func() { assert.NoError(t, repo.Close()) }()
	v, err := repo.ReadDetachedMetadata(t.Context(), commit)
	require.NoError(t, err)
	require.NotNil(t, v)
	out := map[string]any{}
	for _, key := range v.Keys() {
		child, _ := v.Lookup(key)
		out[key] = value(t, key, child)
	}
	return out
}

func query(t testing.TB, dir, image string) *container.LayeredImageState {
	t.Helper()
	repo, err := ostree.OpenRepo(t.Context(), dir)
	require.NoError(t, err)
	defer func() { assert.NoError(t, repo.Close()) }()
	ref, err := imageref.Parse(image)
	require.NoError(t, err)
	state, err := container.QueryImage(t.Context(), repo, ref)
	require.NoError(t, err)
	return state
}

// interopGC: from the same repository both collect the same layers, and both
// collect none when something cannot be understood.
func interopGC(t *testing.T, p programs) {
	base := bigBase(t)
	p.each(t, func(t *testing.T, first, second program) {
		dir, repo := t.TempDir(), bareRepo(t)
		kept := version(t, base, dir, 1)
		gone := version(t, base, filepath.Join(dir, "gone"), 2)
		deployed := version(t, base, filepath.Join(dir, "deployed"), 3)
		rebased := version(t, base, filepath.Join(dir, "rebased"), 4)
		protected := version(t, base, filepath.Join(dir, "protected"), 5)
		for i, w := range []*ti.Written{kept, gone, deployed, rebased, protected} {
			[]program{first, second}[i%2].pull(t, repo, w.Ref)
		}
		refs := oracle.Refs(t, repo)
		git := func(ref string, w *ti.Written) {
			ti.Run(t, "ostree", "--repo="+repo, "refs", "--create="+ref, refs[imageRefName(t, w.Ref)])
		}
		git("ostree/0/1/0", deployed)
		git("rpmostree/base/0", rebased)
		git("ostree/container/baseimage/project/0", protected)
		ti.Run(t, "ostree", "--repo="+repo, "refs", "--create=rpmostree/base/1", refs[blobRef(t, kept.Manifest.Layers[0].Digest.String())]) // no image
		for _, w := range []*ti.Written{gone, deployed, rebased, protected} {
			second.run(t, "remove", "--skip-gc", "--repo="+repo, w.Ref)
		}
		others := []string{"ostree/0/1/0", "rpmostree/base/0", "rpmostree/base/1", "ostree/container/baseimage/project/0"}
		want := append([]string{imageRefName(t, kept.Ref)}, others...)
		for _, w := range []*ti.Written{kept, deployed, rebased, protected} {
			for _, name := range refsOf(t, w)[1:] {
				if !contains(want, name) {
					want = append(want, name)
				}
			}
		}
		for _, gc := range []program{p.judge, p.ours} {
			copied := copyRepo(t, repo)
			before, _ := snapshot(t, copied)
			assert.Equal(t, fmt.Sprintf("Removed layers: %d\n", len(before)-len(want)), gc.run(t, "prune-layers", "--repo="+copied), gc.name)
			after, _ := snapshot(t, copied)
			assert.ElementsMatch(t, want, keys(after), gc.name)
			assert.Equal(t, "Removed layers: 0\n", gc.run(t, "prune-layers", "--repo="+copied), gc.name)
			oracle.Fsck(t, copied)

			// Removing what is not there fails, and removes the rest.
			_, stderr, err := gc.try("remove", "--repo="+copied, "oci:/nowhere:a", kept.Ref)
			require.Error(t, err, gc.name)
			assert.Contains(t, stderr, "error: Missing images: oci:/nowhere:a", gc.name)
		}
		// Closed on failure.
		for _, c := range []struct{ name, ref, commit string }{
			{"not an image", "ostree/container/image/oci_3A_x", refs[blobRef(t, kept.Manifest.Layers[0].Digest.String())]},
			{"not a layer", "ostree/container/blob/z.b", refs[imageRefName(t, kept.Ref)]},
		} {
			for _, gc := range []program{p.judge, p.ours} {
				copied := copyRepo(t, repo)
				ti.Run(t, "ostree", "--repo="+copied, "refs", "--create="+c.ref, c.commit)
				before, _ := snapshot(t, copied)
				_, stderr, err := gc.try("prune-layers", "--repo="+copied)
				require.Error(t, err, "%s, %s", c.name, gc.name)
				if gc == p.ours { // the judge removes, in the order of a hash, until it meets it
					assert.Contains(t, stderr, c.ref, c.name)
					after, _ := snapshot(t, copied)
					assert.Equal(t, before, after, c.name)
				}
			}
		}
	})
}

func copyRepo(t testing.TB, repo string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "repo")
	ti.Run(t, "cp", "-a", "--reflink=auto", repo, to)
	return to
}
