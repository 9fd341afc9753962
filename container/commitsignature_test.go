package container_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// gpgKey makes a key and returns gpg's home, the key's ID and a file with the public key.
func gpgKey(t *testing.T, name string) (home, id, public string) {
	t.Helper()
	return gpgKeyOf(t, name, "ed25519")
}

// gpgKeyOf is gpgKey for another algorithm: that of containers/image knows no elliptic curves.
func gpgKeyOf(t *testing.T, name, algorithm string) (home, id, public string) {
	t.Helper()
	ti.NeedTool(t, "gpg")
	home, err := os.MkdirTemp("", "gpg") // the path of a socket has to be short
	require.NoError(t, err)
	t.Cleanup(func() {
		_, _ = ti.Output("gpgconf", "--homedir", home, "--kill", "all")
		assert.NoError(t, os.RemoveAll(home))
	})
	id = name + "@example.com"
	ti.Run(t, "gpg", "--homedir", home, "--batch", "--passphrase", "", "--quick-gen-key", id, algorithm, "sign", "never")
	public = filepath.Join(t.TempDir(), "public.gpg")
	ti.Run(t, "gpg", "--homedir", home, "--batch", "--output", public, "--export", id)
	return home, id, public
}

// pullThrough pulls an image whose base commit has to be signed for a remote.
func pullThrough(t *testing.T, repo *ostree.Repo, remote, image string) (*container.LayeredImageState, error) {
	t.Helper()
	ref, err := imageref.ParseOSTree("ostree-remote-image:" + remote + ":" + image)
	require.NoError(t, err)
	imp, err := container.NewImporter(repo, ref, nil)
	require.NoError(t, err)
	defer func() { assert.NoError(t, imp.Close()) }()
	found, err := imp.Prepare(t.Context())
	if err != nil {
		return nil, err
	}
	if found.AlreadyPresent != nil {
		return found.AlreadyPresent, nil
	}
	return imp.Import(t.Context(), found.Ready)
}

// The base commit is verified with the keys of the remote before anything is stored, and again when it was stored without.
func TestRemoteSignature(t *testing.T) {
	home, id, public := gpgKey(t, "good")
	_, _, otherPublic := gpgKey(t, "other")
	signed := ti.EncapsulatedBase(t, ti.BaseOptions{Sign: func(repo, commit string) {
		ti.Run(t, "ostree", "gpg-sign", "--repo="+repo, "--gpg-homedir="+home, commit, id)
	}})
	unsigned := ti.EncapsulatedBase(t, ti.BaseOptions{})
	derived := ti.Image{Layers: []ti.Layer{{Members: []ti.Member{ti.File("usr/x", 0o644, "x")}}}}.Write(t, t.TempDir(), "latest")

	remotes := func() (*ostree.Repo, string) {
		repo, dir := newRepo(t, modeHere())
		ti.Run(t, "ostree", "--repo="+dir, "remote", "add", "--gpg-import="+public, "good", "file:///nowhere")
		ti.Run(t, "ostree", "--repo="+dir, "remote", "add", "--gpg-import="+otherPublic, "other", "file:///nowhere")
		require.NoError(t, repo.ReloadConfig(t.Context()))
		return repo, dir
	}
	t.Run("signed", func(t *testing.T) {
		repo, _ := remotes()
		state, err := pullThrough(t, repo, "good", signed.Ref)
		require.NoError(t, err)
		assert.Contains(t, state.VerifyText, "Good signature")
		assert.Equal(t, signed.Commit, state.BaseCommit)
		state, err = pullThrough(t, repo, "good", signed.Ref)
		require.NoError(t, err)
		assert.Contains(t, state.VerifyText, "Good signature", "when it is there already")
		_, err = pullThrough(t, repo, "other", signed.Ref)
		require.Error(t, err, "it is there, but not signed for this remote")
	})
	for name, c := range map[string]struct{ remote, image, says string }{
		"signed by another key": {"other", signed.Ref, "public key not found"},
		"unsigned":              {"good", unsigned.Ref, "Expected commitmeta object"},
		"no such remote":        {"nosuch", signed.Ref, "nosuch"},
		"no ostree commit":      {"good", derived.Ref, "holds no ostree commit"},
	} {
		t.Run(name, func(t *testing.T) {
			repo, dir := remotes()
			_, err := pullThrough(t, repo, c.remote, c.image)
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.says)
			nothingVisible(t, dir)
			assert.Empty(t, ti.Run(t, "find", dir+"/objects", "-type", "f"), "nothing is stored")
		})
	}
	t.Run("stored without verification", func(t *testing.T) {
		repo, _ := remotes()
		mustPull(t, repo, unsigned.Ref, container.ImporterOptions{})
		_, err := pullThrough(t, repo, "good", unsigned.Ref)
		require.ErrorIs(t, err, container.ErrNotVerifiable)
	})
}
