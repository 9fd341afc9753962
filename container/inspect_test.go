package container_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// What Inspect says a pull would fetch is what the pull fetches, and it writes nothing.
func TestInspectSaysWhatAPullFetches(t *testing.T) {
	t.Parallel()
	repo, repoDir := newRepo(t, modeHere())
	dir := t.TempDir()
	v1 := ti.Image{Layers: []ti.Layer{goodLayer("shared"), goodLayer("one")}}.Write(t, dir, "latest")
	inspect := func(ref string, repo *ostree.Repo) *container.Inspection {
		in, err := container.Inspect(t.Context(), unverified(t, ref), &container.InspectOptions{Registry: quickly(t), Repo: repo})
		require.NoError(t, err)
		return in
	}
	in := inspect(v1.Ref, nil)
	assert.Equal(t, v1.RawManifest, in.RawManifest)
	assert.Equal(t, v1.RawConfig, in.RawConfig)
	assert.Equal(t, v1.Digest(), in.ManifestDigest)
	assert.Len(t, in.LayersToFetch(), 2)

	in = inspect(v1.Ref, repo)
	assert.Nil(t, in.Previous)
	assert.False(t, in.Current)
	assert.Len(t, in.LayersToFetch(), 2)
	_, err := container.InspectStored(t.Context(), repo, imageName(t, v1.Ref))
	require.ErrorIs(t, err, container.ErrNoSuchImage)

	state := mustPull(t, repo, v1.Ref, container.ImporterOptions{})
	in = inspect(v1.Ref, repo)
	assert.True(t, in.Current)
	assert.Empty(t, in.LayersToFetch())
	assert.Equal(t, state.MergeCommit, in.Previous.MergeCommit)
	for n, commit := range layerRefs(t, repoDir, v1) {
		assert.Equal(t, commit, in.Layers[n].Commit)
	}

	v2 := ti.Image{Layers: []ti.Layer{goodLayer("shared"), goodLayer("two"), goodLayer("three")}}.Write(t, dir, "latest")
	before := oracle.Refs(t, repoDir)
	in = inspect(v2.Ref, repo)
	assert.False(t, in.Current)
	assert.Equal(t, v1.Digest(), in.Previous.ManifestDigest)
	assert.Equal(t, 1, in.Stored())
	assert.Equal(t, v2.Manifest.Layers[1].Size+v2.Manifest.Layers[2].Size, in.FetchSize())
	assert.Equal(t, before, oracle.Refs(t, repoDir))
	assert.Empty(t, detachedValues(t, repo, state.MergeCommit), "no update was noted")
	var planned container.LayersPlanned
	mustPull(t, repo, v2.Ref, container.ImporterOptions{Progress: func(e container.Event) {
		if e, ok := e.(container.LayersPlanned); ok {
			planned = e
		}
	}})
	assert.Equal(t, in.FetchSize(), planned.Bytes)
	assert.Len(t, planned.Layers, 2)

	stored, err := container.InspectStored(t.Context(), repo, imageName(t, v2.Ref))
	require.NoError(t, err)
	assert.True(t, stored.Current)
	assert.Equal(t, v2.Digest(), stored.ManifestDigest)
	assert.Equal(t, v2.Manifest.Layers, stored.Manifest.Layers)
	assert.Len(t, stored.Layers, 3)
	assert.Nil(t, stored.RawManifest)
}

// The digest and the manifest are fetched with the credentials that a pull would use (B11).
func TestB11_FetchManifestUsesCredentials(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := ti.Image{Layers: []ti.Layer{goodLayer("a")}}.Write(t, dir, "latest")
	reg := ti.NewRegistry(t, dir)
	reg.RequireBasic("me", "secret")
	ref := unverified(t, reg.Ref("os", "latest"))
	auth := filepath.Join(t.TempDir(), "ostree", "auth.json")
	require.NoError(t, os.Mkdir(filepath.Dir(auth), 0o700))
	require.NoError(t, os.WriteFile(auth, []byte(`{"auths":{"`+reg.Host()+`":{"auth":"bWU6c2VjcmV0"}}}`), 0o600))
	options := func() *registry.Options {
		o := quickly(t)
		o.Auth = registry.AuthAuto
		return o
	}
	_, _, err := container.FetchManifest(t.Context(), ref, options())
	require.Error(t, err)
	assert.Contains(t, err.Error(), http.StatusText(http.StatusUnauthorized)[:5])
	assert.NotContains(t, err.Error(), "secret")
	for name, o := range map[string]*registry.Options{
		"file": {Access: registry.Access{AuthFile: auth}}, "credentials": {Access: registry.Access{Username: "me", Password: "secret"}},
	} {
		o.InsecureSkipTLSVerify, o.PolicyPath = true, policyFile(t)
		manifest, digest, err := container.FetchManifest(t.Context(), ref, o)
		require.NoError(t, err, name)
		assert.Equal(t, w.Digest(), digest)
		assert.Equal(t, w.Manifest.Layers, manifest.Layers)
	}
	// Without options ostree's own file counts: here that of a root directory, as installers have it.
	root := t.TempDir()
	place := filepath.Join(root, "etc/ostree")
	if os.Getuid() != 0 {
		t.Skip("other users have it in directories that the environment names")
	}
	require.NoError(t, os.MkdirAll(place, 0o755))
	require.NoError(t, os.Rename(auth, filepath.Join(place, "auth.json")))
	o := options()
	o.RootDir = root
	_, digest, err := container.FetchManifest(t.Context(), ref, o)
	require.NoError(t, err)
	assert.Equal(t, w.Digest(), digest)
}

func TestManifestDiff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from := ti.Image{Layers: []ti.Layer{goodLayer("a"), goodLayer("b"), goodLayer("b")}}.Write(t, dir, "from")
	to := ti.Image{Layers: []ti.Layer{goodLayer("a"), goodLayer("c"), goodLayer("a")}}.Write(t, dir, "to")
	d := container.NewManifestDiff(&from.Manifest, &to.Manifest)
	l := to.Manifest.Layers
	assert.Equal(t, 2, d.Total)
	assert.Equal(t, l[0].Size+l[1].Size+l[2].Size, d.TotalSize)
	assert.Equal(t, l[1:2], d.Added)
	assert.Equal(t, from.Manifest.Layers[1:2], d.Removed)
	d = container.NewManifestDiff(&from.Manifest, &from.Manifest)
	assert.Empty(t, d.Added)
	assert.Empty(t, d.Removed)
}
