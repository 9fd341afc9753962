package container_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// setDetached replaces the detached metadata of a commit by what GLib reads from a text.
func setDetached(t testing.TB, repoDir, commit, text string) {
	t.Helper()
	repo, err := ostree.OpenRepo(t.Context(), repoDir)
	require.NoError(t, err)
	defer repo.Close()
	v, err := ostree.ParseVariant("a{sv}", text)
	require.NoError(t, err)
	require.NoError(t, repo.WriteDetachedMetadata(t.Context(), commit, v))
}

// An image of a base commit that the repository has adds to its detached metadata and takes nothing away.
func TestDetachedMetadataOfABaseIsMerged(t *testing.T) {
	base := func(detached string) *ti.EncapsulatedImage { // the same commit each time
		return ti.EncapsulatedBase(t, ti.BaseOptions{Sign: func(repo, commit string) { setDetached(t, repo, commit, detached) }})
	}
	first := base(`{'ostree.gpgsigs': <[b'one']>, 'ostree.sign.ed25519': <[b'ours']>, 'key': <'ours'>}`)
	second := base(`{'ostree.gpgsigs': <[b'two', b'one']>, 'ostree.sign.ed25519': <'no list'>, 'key': <'theirs'>, 'new': <'theirs'>,
		'ostree-ext.cached.manifest-digest': <'sha256:x'>}`)
	require.Equal(t, first.Commit, second.Commit)
	// The second image holds its commit in another blob, or it would be known by its digest.
	require.NotEqual(t, first.Manifest.Layers[0].Digest, second.Manifest.Layers[0].Digest)
	repo, dir := newRepo(t, modeHere())
	mustPull(t, repo, first.Ref, container.ImporterOptions{})
	mustPull(t, repo, second.Ref, container.ImporterOptions{})
	got, err := repo.ReadDetachedMetadata(t.Context(), first.Commit)
	require.NoError(t, err)
	want, err := ostree.ParseVariant("a{sv}", `{'key': <'ours'>, 'new': <'theirs'>, 'ostree.gpgsigs': <[b'one', b'two']>, 'ostree.sign.ed25519': <[b'ours']>}`)
	require.NoError(t, err)
	assert.Equal(t, want.Text(), got.Text())
	ti.Run(t, "ostree", "--repo="+dir, "fsck", "--quiet")
}

// Of several at once, in processes and goroutines of their own, none loses what another one adds.
func TestDetachedMetadataOfSeveralImportsAtOnce(t *testing.T) {
	var refs []string
	var base *ti.EncapsulatedImage
	for n := range 6 {
		base = ti.EncapsulatedBase(t, ti.BaseOptions{Sign: func(repo, commit string) {
			setDetached(t, repo, commit, fmt.Sprintf("{'ostree.gpgsigs': <[b'signature %[1]d']>, 'key-%[1]d': <'%[1]d'>}", n))
		}})
		refs = append(refs, base.Ref)
	}
	repo, dir := newRepo(t, modeHere())
	var wg sync.WaitGroup
	var children []*child
	for n, ref := range refs {
		if n%2 == 0 {
			children = append(children, startChild(t, task{Do: "pull", Repo: dir, Refs: []string{ref}}))
			continue
		}
		wg.Go(func() {
			own, err := ostree.OpenRepo(t.Context(), dir)
			if assert.NoError(t, err) {
				_, _, err = pull(t, own, ref, container.ImporterOptions{})
				assert.NoError(t, err)
				assert.NoError(t, own.Close())
			}
		})
	}
	wg.Wait()
	for _, p := range children {
		p.finish(t)
	}
	got, err := repo.ReadDetachedMetadata(t.Context(), base.Commit)
	require.NoError(t, err)
	for n := range refs {
		assert.Contains(t, got.Text(), fmt.Sprintf("b'signature %d'", n))
		assert.Contains(t, got.Text(), fmt.Sprintf("'key-%d'", n))
	}
	ti.Run(t, "ostree", "--repo="+dir, "fsck", "--quiet")
}

// What one image brings cannot make the metadata grow for ever; the pull goes on with what is there.
func TestDetachedMetadataIsBounded(t *testing.T) {
	base := func(letter string) *ti.EncapsulatedImage {
		return ti.EncapsulatedBase(t, ti.BaseOptions{Sign: func(repo, commit string) {
			setDetached(t, repo, commit, `{'ostree.gpgsigs': <[b'`+strings.Repeat(letter, 6<<20)+`']>}`)
		}})
	}
	first, second := base("a"), base("b")
	repo, _ := newRepo(t, modeHere())
	mustPull(t, repo, first.Ref, container.ImporterOptions{})
	before, err := repo.ReadDetachedMetadata(t.Context(), first.Commit)
	require.NoError(t, err)
	mustPull(t, repo, second.Ref, container.ImporterOptions{})
	after, err := repo.ReadDetachedMetadata(t.Context(), first.Commit)
	require.NoError(t, err)
	assert.True(t, before.Equal(after))
}

// Of one commit signed by two keys in two images, either remote accepts what is stored.
func TestSignaturesOfTwoImagesAreKept(t *testing.T) {
	signed := func(name string) (*ti.EncapsulatedImage, string) {
		home, id, public := gpgKey(t, name)
		return ti.EncapsulatedBase(t, ti.BaseOptions{Sign: func(repo, commit string) {
			ti.Run(t, "ostree", "gpg-sign", "--repo="+repo, "--gpg-homedir="+home, commit, id)
		}}), public
	}
	first, firstKey := signed("first")
	second, secondKey := signed("second")
	require.Equal(t, first.Commit, second.Commit)
	repo, dir := newRepo(t, modeHere())
	for name, key := range map[string]string{"first": firstKey, "second": secondKey} {
		ti.Run(t, "ostree", "--repo="+dir, "remote", "add", "--gpg-import="+key, name, "file:///nowhere")
	}
	require.NoError(t, repo.ReloadConfig(t.Context()))
	_, err := pullThrough(t, repo, "first", first.Ref)
	require.NoError(t, err)
	_, err = pullThrough(t, repo, "second", second.Ref)
	require.NoError(t, err)
	state, err := pullThrough(t, repo, "first", first.Ref)
	require.NoError(t, err)
	assert.Contains(t, state.VerifyText, "Good signature")
}
