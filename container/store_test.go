package container_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

func imageName(t testing.TB, ref string) imageref.ImageReference { return unverified(t, ref).ImgRef }

// imageRefOf is the ostree ref under which an image is kept.
func imageRefOf(t testing.TB, ref string) string {
	t.Helper()
	name, err := imageref.EscapeRef("ostree/container/image", imageName(t, ref).String())
	require.NoError(t, err)
	return name
}

func TestListImages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	repo, repoDir := newRepo(t, modeHere())
	images, err := container.ListImages(t.Context(), repo)
	require.NoError(t, err)
	assert.Empty(t, images)
	assert.NotNil(t, images, "an empty list, also in JSON")

	reg := ti.NewRegistry(t, dir)
	var want []string
	for _, tag := range []string{"zz", "B", "a.b_c-1"} {
		w := ti.Image{Layers: []ti.Layer{goodLayer(tag)}}.Write(t, dir, tag)
		mustPull(t, repo, w.Ref, container.ImporterOptions{})
		mustPull(t, repo, reg.Ref("some/os", tag), container.ImporterOptions{})
		want = append(want, w.Ref, reg.Ref("some/os", tag))
	}
	images, err = container.ListImages(t.Context(), repo)
	require.NoError(t, err)
	assert.ElementsMatch(t, want, images)
	assert.IsNonDecreasing(t, images)
	// A name that only looks like a prefix does not belong.
	commit := layerRefs(t, repoDir, ti.Image{Layers: []ti.Layer{goodLayer("zz")}}.Write(t, t.TempDir(), "x"))[0]
	for _, ref := range []string{"ostree/container/imagefoo", "ostree/container/images/x", "main"} {
		require.NoError(t, repo.SetRefImmediate(t.Context(), "", ref, commit))
	}
	again, err := container.ListImages(t.Context(), repo)
	require.NoError(t, err)
	assert.Equal(t, images, again)

	for _, bad := range []string{"_ZZ_", "a.b", "x_110000_", "x_d800_"} {
		name := "ostree/container/image/" + bad
		require.NoError(t, repo.SetRefImmediate(t.Context(), "", name, commit))
		_, err = container.ListImages(t.Context(), repo)
		if assert.Error(t, err, name) {
			assert.Contains(t, err.Error(), name)
		}
		require.NoError(t, repo.SetRefImmediate(t.Context(), "", name, ""))
	}
}

func TestQueryImage(t *testing.T) {
	t.Parallel()
	layers := plainLayers("a", 2, 2, 0)
	w := ti.Image{Layers: layers, Annotations: map[string]string{"k": "v"}, Labels: map[string]string{"version": "7"}}.Write(t, t.TempDir(), "latest")
	repo, repoDir := newRepo(t, modeHere())
	ref := imageName(t, w.Ref)
	_, err := container.QueryImage(t.Context(), repo, ref)
	require.ErrorIs(t, err, container.ErrNoSuchImage)
	assert.Contains(t, err.Error(), ref.String())

	state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	got, err := container.QueryImage(t.Context(), repo, ref)
	require.NoError(t, err)
	assert.Equal(t, oracle.Refs(t, repoDir)[imageRefOf(t, w.Ref)], got.MergeCommit)
	assert.Equal(t, state.MergeCommit, got.MergeCommit)
	assert.Equal(t, layerRefs(t, repoDir, w)[0], got.BaseCommit)
	assert.Equal(t, w.Digest(), got.ManifestDigest)
	assert.Equal(t, "7", got.Version())
	assert.Nil(t, got.CachedUpdate)
	assert.Equal(t, &w.Manifest, got.Manifest)
	assert.Equal(t, &w.Config, got.Config)
	byCommit, err := container.QueryImageCommit(t.Context(), repo, state.MergeCommit)
	require.NoError(t, err)
	assert.Equal(t, got, byCommit)

	// A commit that is no image, and one that is not there.
	_, err = container.QueryImageCommit(t.Context(), repo, got.BaseCommit)
	require.ErrorIs(t, err, container.ErrUnreadableImage)
	assert.Contains(t, err.Error(), "ostree.manifest-digest")
	_, err = container.QueryImageCommit(t.Context(), repo, strings.Repeat("0", 64))
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = container.QueryImageCommit(t.Context(), repo, "not a checksum")
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
}

// commitWith writes an empty commit with string metadata.
func commitWith(t testing.TB, repoDir string, metadata map[string]string) string {
	t.Helper()
	args := []string{"--repo=" + repoDir, "commit", "--orphan", "--no-bindings", "--timestamp=@0", "--subject=x", "--tree=dir=" + t.TempDir()}
	for k, v := range metadata {
		args = append(args, "--add-metadata-string="+k+"="+v)
	}
	return strings.TrimSpace(ti.Run(t, "ostree", args...))
}

// Merge commits that something else wrote, or wrote badly: an error that names commit and key, never a panic.
func TestQueryImageBadMetadata(t *testing.T) {
	t.Parallel()
	repo, repoDir := newRepo(t, modeHere())
	w := ti.Image{Layers: []ti.Layer{goodLayer("a")}}.Write(t, t.TempDir(), "latest")
	mustPull(t, repo, w.Ref, container.ImporterOptions{})
	good := map[string]string{
		"ostree.manifest-digest": w.Digest().String(), "ostree.manifest": string(w.RawManifest), "ostree.container.image-config": string(w.RawConfig),
	}
	with := func(key, value string) map[string]string {
		m := map[string]string{}
		for k, v := range good {
			m[k] = v
		}
		if m[key] = value; value == "" {
			delete(m, key)
		}
		return m
	}
	for _, tc := range []struct {
		name string
		meta map[string]string
		text string // "" is no error
	}{
		{"good", good, ""},
		{"config null, of old versions", with("ostree.container.image-config", "null"), ""},
		{"no config, of older ones", with("ostree.container.image-config", ""), ""},
		{"no digest", with("ostree.manifest-digest", ""), "ostree.manifest-digest"},
		{"bad digest", with("ostree.manifest-digest", "sha256:abc"), "ostree.manifest-digest"},
		{"no manifest", with("ostree.manifest", ""), "ostree.manifest"},
		{"manifest no JSON", with("ostree.manifest", "{"), "ostree.manifest"},
		{"manifest an array", with("ostree.manifest", "[]"), "ostree.manifest"},
		{"manifest null", with("ostree.manifest", "null"), "layers"},
		{"manifest without layers", with("ostree.manifest", `{"schemaVersion":2,"layers":[]}`), "layers"},
		{"layer that is no digest", with("ostree.manifest", `{"schemaVersion":2,"layers":[{"digest":"../../x"}]}`), "../../x"},
		{"config no JSON", with("ostree.container.image-config", "nope"), "ostree.container.image-config"},
		{"config a string", with("ostree.container.image-config", `"x"`), "ostree.container.image-config"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			commit := commitWith(t, repoDir, tc.meta)
			state, err := container.QueryImageCommit(t.Context(), repo, commit)
			if tc.text == "" {
				require.NoError(t, err)
				assert.Equal(t, w.Digest(), state.ManifestDigest)
				_ = state.Version()
				return
			}
			require.Error(t, err)
			assert.Contains(t, err.Error(), tc.text)
			assert.Contains(t, err.Error(), commit)
		})
	}
	t.Run("metadata of another type", func(t *testing.T) {
		commit := strings.TrimSpace(ti.Run(t, "ostree", "--repo="+repoDir, "commit", "--orphan", "--no-bindings", "--subject=x", "--tree=dir="+t.TempDir(), "--add-metadata=ostree.manifest-digest=uint32 5"))
		_, err := container.QueryImageCommit(t.Context(), repo, commit)
		require.Error(t, err)
		assert.Contains(t, err.Error(), "ostree.manifest-digest")
		assert.Contains(t, err.Error(), commit)
	})
}

// A pull that finds an update and does not import it notes it beside what else is in the detached metadata (B9): signatures and
// other tools' keys stay, byte for byte. Clearing takes only what was noted.
func TestB9_CachedUpdateKeepsOtherMetadata(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	repo, repoDir := newRepo(t, modeHere())
	w := ti.Image{Layers: []ti.Layer{goodLayer("a")}, Labels: map[string]string{"version": "1"}}.Write(t, dir, "latest")
	ref := imageName(t, w.Ref)
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	// A signature of libostree's own making, and foreign keys.
	sign := func(args ...string) string {
		t.Helper()
		return ti.Run(t, "env", append([]string{"OSTREE_DUMMY_SIGN_ENABLED=1", "ostree", "--repo=" + repoDir, "sign", "--sign-type=dummy"}, args...)...)
	}
	sign(state.MergeCommit, "secret")
	require.Contains(t, detachedValues(t, repo, state.MergeCommit), "ostree.sign.dummy")
	dict, err := ostree.VariantDictOf(must(repo.ReadDetachedMetadata(t.Context(), state.MergeCommit))(t))
	require.NoError(t, err)
	v, err := dict.SetString("org.example.key", "kept").SetBytes("org.example.bytes", []byte{0, 1, 255}).Build()
	require.NoError(t, err)
	require.NoError(t, repo.WriteDetachedMetadata(t.Context(), state.MergeCommit, v))
	before := detachedValues(t, repo, state.MergeCommit)
	require.Contains(t, before, "org.example.key")

	cleared, err := container.ClearCachedUpdate(t.Context(), repo, ref)
	require.NoError(t, err)
	assert.False(t, cleared, "there is nothing to clear")
	assert.Equal(t, before, detachedValues(t, repo, state.MergeCommit))

	update := ti.Image{Layers: []ti.Layer{goodLayer("a"), goodLayer("b")}, Labels: map[string]string{"version": "2"}}.Write(t, dir, "latest")
	check := func() *container.CachedUpdate {
		t.Helper()
		imp, err := container.NewImporter(repo, unverified(t, w.Ref), &container.ImporterOptions{Registry: quickly(t)})
		require.NoError(t, err)
		defer imp.Close()
		res, err := imp.Prepare(t.Context())
		require.NoError(t, err)
		require.NotNil(t, res.Ready)
		got, err := container.QueryImage(t.Context(), repo, ref)
		require.NoError(t, err)
		require.NotNil(t, got.CachedUpdate)
		assert.Equal(t, w.Digest(), got.ManifestDigest, "the image itself is as it was")
		return got.CachedUpdate
	}
	noted := check()
	assert.Equal(t, update.Digest(), noted.ManifestDigest)
	assert.Equal(t, &update.Manifest, noted.Manifest)
	assert.Equal(t, "2", noted.Version())
	after := detachedValues(t, repo, state.MergeCommit)
	for key, value := range before {
		assert.Equal(t, value, after[key], key)
	}
	assert.Len(t, after, len(before)+3)
	for _, key := range []string{"ostree-ext.cached.manifest-digest", "ostree-ext.cached.manifest", "ostree-ext.cached.config"} {
		assert.Contains(t, after, key)
	}
	sign("--verify", state.MergeCommit, "secret")
	// A newer update takes the place of the noted one.
	newer := ti.Image{Layers: []ti.Layer{goodLayer("c")}, Labels: map[string]string{"version": "3"}}.Write(t, dir, "latest")
	assert.Equal(t, newer.Digest(), check().ManifestDigest)
	assert.Len(t, detachedValues(t, repo, state.MergeCommit), len(before)+3)
	oracle.Fsck(t, repoDir)

	cleared, err = container.ClearCachedUpdate(t.Context(), repo, ref)
	require.NoError(t, err)
	assert.True(t, cleared)
	sign("--verify", state.MergeCommit, "secret")
	assert.Equal(t, before, detachedValues(t, repo, state.MergeCommit))
	_, err = container.ClearCachedUpdate(t.Context(), repo, imageName(t, "oci:/nowhere:x"))
	require.ErrorIs(t, err, container.ErrNoSuchImage)

	// A digest without the rest is an error for whoever asks, as it is for the reference; a pull repairs it.
	dict, err = ostree.VariantDictOf(must(repo.ReadDetachedMetadata(t.Context(), state.MergeCommit))(t))
	require.NoError(t, err)
	v, err = dict.SetString("ostree-ext.cached.manifest-digest", newer.Digest().String()).Build()
	require.NoError(t, err)
	require.NoError(t, repo.WriteDetachedMetadata(t.Context(), state.MergeCommit, v))
	_, err = container.QueryImage(t.Context(), repo, ref)
	require.Error(t, err)
	assert.Contains(t, err.Error(), "ostree-ext.cached.")
	got := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	assert.Equal(t, newer.Digest(), got.ManifestDigest)
}

func must[V any](v V, err error) func(testing.TB) V {
	return func(t testing.TB) V {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}

// detachedValues are the detached metadata of a commit, each value in GVariant's text form.
func detachedValues(t testing.TB, repo *ostree.Repo, commit string) map[string]string {
	t.Helper()
	out := map[string]string{}
	v := must(repo.ReadDetachedMetadata(t.Context(), commit))(t)
	if v == nil {
		return out
	}
	for n := range v.Len() {
		entry := v.Child(n)
		key, err := entry.Child(0).Str()
		require.NoError(t, err)
		out[key] = entry.Child(1).String()
	}
	return out
}

// What is stored of manifest and config is canonical JSON, whatever the source's spelling.
func TestStoredDocumentsAreCanonical(t *testing.T) {
	t.Parallel()
	w := ti.Image{Layers: []ti.Layer{goodLayer("a")}, RawManifest: func(m []byte) []byte {
		var tree map[string]any
		require.NoError(t, json.Unmarshal(m, &tree))
		spaced, err := json.MarshalIndent(tree, "  ", "\t")
		require.NoError(t, err)
		return spaced
	}}.Write(t, t.TempDir(), "latest")
	repo, repoDir := newRepo(t, modeHere())
	state := mustPull(t, repo, w.Ref, container.ImporterOptions{})
	assert.Equal(t, w.Digest(), state.ManifestDigest, "the digest is that of the bytes at the source")
	raw := ti.Run(t, "ostree", "--repo="+repoDir, "show", "--print-metadata-key=ostree.manifest", state.MergeCommit)
	assert.NotContains(t, raw, "\t")
	var manifest ocispec.Manifest
	require.NoError(t, json.Unmarshal([]byte(strings.Trim(strings.TrimSpace(raw), "'")), &manifest))
	assert.Equal(t, w.Manifest, manifest)
}

// Names that make an illegal ref are refused before anything is fetched.
func TestB27_IllegalRefIsRefusedFirst(t *testing.T) {
	t.Parallel()
	repo, repoDir := newRepo(t, modeHere())
	base := filepath.Join(t.TempDir(), "-dash")
	require.NoError(t, os.Mkdir(base, 0o755))
	w := ti.Image{Layers: []ti.Layer{goodLayer("a")}}.Write(t, base, "latest")
	_, err := container.NewImporter(repo, unverified(t, w.Ref), nil)
	if err != nil {
		assert.Contains(t, err.Error(), "-dash")
		assert.Empty(t, oracle.Refs(t, repoDir))
		return
	}
	mustPull(t, repo, w.Ref, container.ImporterOptions{}) // or it is escaped, and works
	images, err := container.ListImages(t.Context(), repo)
	require.NoError(t, err)
	assert.Equal(t, []string{w.Ref}, images)
}
