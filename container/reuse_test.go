package container_test

import (
	"fmt"
	"log/slog"
	"maps"
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
	"github.com/ostree-container/ostree-container/container/registry"
)

// plainLayers is layers of some files each, all different; the last file of each is large.
func plainLayers(name string, layers, files int, large int64) []ti.Layer {
	var out []ti.Layer
	for n := range layers {
		members := []ti.Member{ti.Dir("usr", 0o755), ti.Dir(fmt.Sprintf("usr/%s%d", name, n), 0o755)}
		for f := range files {
			path := fmt.Sprintf("usr/%s%d/f%d", name, n, f)
			members = append(members, ti.File(path, 0o644, path))
		}
		if large > 0 {
			members = append(members, ti.BigFile(fmt.Sprintf("usr/%s%d/large", name, n), 0o644, large, uint64(n+1)))
		}
		out = append(out, ti.Layer{Members: members, Compression: ti.GzipFast})
	}
	return out
}

// blobRefs are the layer refs of a repository.
func blobRefs(refs map[string]string) map[string]string {
	out := map[string]string{}
	for name, commit := range refs {
		if strings.HasPrefix(name, "ostree/container/blob/") {
			out[name] = commit
		}
	}
	return out
}

func refOfLayer(t testing.TB, l ti.Written, n int) string {
	t.Helper()
	name, err := imageref.EscapeRef("ostree/container/blob", l.Manifest.Layers[n].Digest.String())
	require.NoError(t, err)
	return name
}

// wellPulled checks that a repository is sound, holds an image as it must be, and nothing is left over.
func wellPulled(t testing.TB, dir string, state *container.LayeredImageState, layers []ti.Layer) {
	t.Helper()
	want, _ := oracle.Merge(nil, trees(t, rulesHere(), layers)...)
	oracle.Same(t, want.List(), oracle.List(t, dir, state.MergeCommit), "merge commit")
	oracle.Fsck(t, dir)
	assert.Empty(t, leftovers(t, dir))
}

// A layer that is here under another digest, because it was compressed in another way, is not fetched.
func TestReuseByDiffID(t *testing.T) {
	layers := plainLayers("a", 3, 5, 100_000)
	dir := t.TempDir()
	reg := ti.NewRegistry(t, dir)
	first := ti.Image{Layers: layers}.Write(t, dir, "gzip")
	for i := range layers {
		layers[i].Compression = []ti.Compression{ti.Zstd, ti.None, ti.GzipMembers}[i]
	}
	second := ti.Image{Layers: layers, Labels: map[string]string{"v": "2"}}.Write(t, dir, "other")
	repo, repoDir := newRepo(t, modeHere())
	one := mustPull(t, repo, reg.Ref("os", "gzip"), container.ImporterOptions{})
	for _, l := range first.Manifest.Layers {
		assert.Equal(t, 1, reg.Requests("blob", l.Digest.String()))
	}
	reg.Reset()
	two := mustPull(t, repo, reg.Ref("os", "other"), container.ImporterOptions{})
	assert.Equal(t, 1, reg.Requests("blob", ""), "only the config is fetched")
	assert.Equal(t, 1, reg.Requests("blob", second.Manifest.Config.Digest.String()))
	assert.Equal(t, layerRefs(t, repoDir, first), layerRefs(t, repoDir, second), "the refs of both digests name the same commits")
	assert.Equal(t, oracle.List(t, repoDir, one.MergeCommit), oracle.List(t, repoDir, two.MergeCommit))
	wellPulled(t, repoDir, two, layers)
	// The same diff_id under both kinds of layer is not the same commit: a derived one may not serve as an ostree chunk.
	refs := oracle.Refs(t, repoDir)
	assert.Len(t, blobRefs(refs), 6)
	removed, err := container.RemoveImages(t.Context(), repo, []imageref.ImageReference{unverified(t, reg.Ref("os", "gzip")).ImgRef})
	require.NoError(t, err)
	assert.Len(t, removed, 1)
	n, err := container.GCImageLayers(t.Context(), repo, nil)
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	ti.Run(t, "ostree", "--repo="+repoDir, "prune", "--refs-only")
	wellPulled(t, repoDir, two, layers)
}

// An update fetches what is new and nothing else; what is no longer used is collected.
func TestReuseUpdateFetchesNewLayers(t *testing.T) {
	layers := plainLayers("a", 4, 3, 50_000)
	dir := t.TempDir()
	reg := ti.NewRegistry(t, dir)
	v1 := ti.Image{Layers: layers[:3]}.Write(t, dir, "latest")
	repo, repoDir := newRepo(t, modeHere())
	ref := reg.Ref("os", "latest")
	mustPull(t, repo, ref, container.ImporterOptions{})
	updated := []ti.Layer{layers[0], layers[3], layers[1]}
	v2 := ti.Image{Layers: updated}.Write(t, dir, "latest")
	reg.Reset()

	imp, err := container.NewImporter(repo, unverified(t, ref), &container.ImporterOptions{
		Registry: &registry.Options{Access: registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous}, PolicyPath: policyFile(t)},
	})
	require.NoError(t, err)
	defer imp.Close()
	res, err := imp.Prepare(t.Context())
	require.NoError(t, err)
	require.NotNil(t, res.Ready)
	require.NotNil(t, res.Ready.Previous)
	assert.Equal(t, v1.Digest(), res.Ready.Previous.ManifestDigest)
	assert.Equal(t, 2, res.Ready.Stored())
	missing := res.Ready.LayersToFetch()
	require.Len(t, missing, 1)
	assert.Equal(t, v2.Manifest.Layers[1].Digest, missing[0].Descriptor.Digest)
	assert.Equal(t, v2.Manifest.Layers[1].Size, res.Ready.FetchSize())
	assert.Equal(t, container.LayerDerived, missing[0].Kind)
	state, err := imp.Import(t.Context(), res.Ready)
	require.NoError(t, err)
	assert.Equal(t, 2, reg.Requests("blob", ""), "config and one layer")
	assert.Equal(t, 1, reg.Requests("blob", v2.Manifest.Layers[1].Digest.String()))
	wellPulled(t, repoDir, state, updated)
	want := []string{}
	for n := range v2.Manifest.Layers {
		want = append(want, refOfLayer(t, *v2, n))
	}
	assert.ElementsMatch(t, want, slices.Collect(maps.Keys(blobRefs(oracle.Refs(t, repoDir)))))
	assert.Nil(t, state.CachedUpdate)
}

// The three ways to find out that there is nothing to do, by what each asks the registry for.
func TestReuseAlreadyPresent(t *testing.T) {
	layers := plainLayers("a", 2, 3, 0)
	dir := t.TempDir()
	reg := ti.NewRegistry(t, dir)
	w := ti.Image{Layers: layers}.Write(t, dir, "latest")
	tag, byDigest := reg.Ref("os", "latest"), reg.Ref("os", w.Digest().String())
	repo, repoDir := newRepo(t, modeHere())
	first := mustPull(t, repo, tag, container.ImporterOptions{})
	mustPull(t, repo, byDigest, container.ImporterOptions{})
	requests := func() [3]int {
		return [3]int{reg.Requests("ping", ""), reg.Requests("manifest", ""), reg.Requests("blob", "")}
	}

	reg.Reset()
	state, present, err := pull(t, repo, byDigest, container.ImporterOptions{})
	require.NoError(t, err)
	assert.True(t, present, "(a) a digest that is stored")
	assert.Equal(t, first.MergeCommit, state.MergeCommit)
	assert.Equal(t, [3]int{}, requests(), "no network")

	reg.Reset()
	state, present, err = pull(t, repo, tag, container.ImporterOptions{})
	require.NoError(t, err)
	assert.True(t, present, "(b) the same manifest")
	assert.Equal(t, first.MergeCommit, state.MergeCommit)
	assert.Equal(t, 1, requests()[1])
	assert.Zero(t, requests()[2], "no blob, not even the config")

	changed := ti.Image{Layers: layers, Annotations: map[string]string{"a": "b"}}.Write(t, dir, "latest")
	require.NotEqual(t, w.Digest(), changed.Digest())
	require.Equal(t, w.Manifest.Config.Digest, changed.Manifest.Config.Digest)
	reg.Reset()
	state, present, err = pull(t, repo, tag, container.ImporterOptions{})
	require.NoError(t, err)
	assert.True(t, present, "(c) the same config")
	assert.Equal(t, first.MergeCommit, state.MergeCommit)
	assert.Equal(t, w.Digest(), state.ManifestDigest, "the manifest that was imported, not the new one")
	assert.Nil(t, state.CachedUpdate)
	assert.Zero(t, requests()[2])

	reg.Close()
	_, present, err = pull(t, repo, byDigest, container.ImporterOptions{})
	require.NoError(t, err)
	assert.True(t, present, "(a) needs no registry at all")
	_, _, err = pull(t, repo, tag, container.ImporterOptions{Registry: &registry.Options{
		Access: registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous},
		Retry:  registry.Retry{Attempts: 1},
	}})
	require.Error(t, err, "(b) does")
	assert.Contains(t, err.Error(), reg.Host())
	wellPulled(t, repoDir, first, layers)
}

// An image in the repository that cannot be read counts as absent: it is said, and pulling again repairs it.
func TestReuseUnreadableImageIsPulledAgain(t *testing.T) {
	layers := plainLayers("a", 2, 3, 0)
	w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "latest")
	repo, repoDir := newRepo(t, modeHere())
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	first := layerRefs(t, repoDir, w)[0]
	name, err := imageref.EscapeRef("ostree/container/image", unverified(t, w.Ref).ImgRef.String())
	require.NoError(t, err)
	for _, tc := range []struct {
		name string
		harm func()
	}{
		{"the ref names a commit that is no image", func() { require.NoError(t, repo.SetRefImmediate(t.Context(), "", name, first)) }},
		{"the merge commit is gone", func() {
			require.NoError(t, os.Remove(objectPath(repoDir, state.MergeCommit, "commit")))
		}},
		{"the layers are gone", func() {
			for n := range w.Manifest.Layers {
				ti.Run(t, "ostree", "--repo="+repoDir, "refs", "--delete", refOfLayer(t, *w, n))
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.harm()
			var log strings.Builder
			again := mustPull(t, repo, w.Ref, container.ImporterOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			assert.Contains(t, log.String(), "failed to query image commit")
			assert.Contains(t, log.String(), w.Ref)
			assert.Equal(t, state.MergeCommit, again.MergeCommit)
			wellPulled(t, repoDir, again, layers)
		})
	}
}

func objectPath(repo, checksum, suffix string) string {
	return filepath.Join(repo, "objects", checksum[:2], checksum[2:]+"."+suffix)
}
