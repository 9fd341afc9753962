package container_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// commitKeys is a way of "ostree sign": how a commit is signed, and what a remote is told of the key.
type commitKeys struct{ kind, secret, public string }

// signKeys makes two keys of a kind: ed25519 where libostree has it; "dummy", libostree's own for tests, everywhere.
func signKeys(t *testing.T) map[string][2]commitKeys {
	t.Helper()
	t.Setenv("OSTREE_DUMMY_SIGN_ENABLED", "1")
	all := map[string][2]commitKeys{"dummy": {{"dummy", "good", "good"}, {"dummy", "other", "other"}}}
	if strings.Contains(ti.Run(t, "ostree", "--version"), "sign-ed25519") {
		var pair [2]commitKeys
		for n := range pair {
			public, secret, err := ed25519.GenerateKey(rand.Reader)
			require.NoError(t, err)
			pair[n] = commitKeys{"ed25519", base64.StdEncoding.EncodeToString(secret), base64.StdEncoding.EncodeToString(public)}
		}
		all["ed25519"] = pair
	}
	return all
}

// everything lists all files of a repository.
func everything(t *testing.T, dir string) string {
	t.Helper()
	return ti.Run(t, "find", dir, "-not", "-path", "*/tmp*", "-not", "-name", ".lock", "-printf", "%P %y %s %T@\\n")
}

// The signatures of "ostree sign" count as those of gpg do: of the right key, over this commit, before anything is stored.
func TestRemoteSignApi(t *testing.T) {
	for kind, keys := range signKeys(t) {
		t.Run(kind, func(t *testing.T) {
			good, other := keys[0], keys[1]
			sign := func(k commitKeys) func(repo, commit string) {
				return func(repo, commit string) {
					ti.Run(t, "ostree", "sign", "--repo="+repo, "--sign-type="+k.kind, commit, k.secret)
				}
			}
			signed := ti.EncapsulatedBase(t, ti.BaseOptions{Sign: sign(good)})
			otherSigned := ti.EncapsulatedBase(t, ti.BaseOptions{Sign: sign(other)})
			twice := ti.EncapsulatedBase(t, ti.BaseOptions{Sign: func(repo, commit string) { sign(other)(repo, commit); sign(good)(repo, commit) }})
			unsigned := ti.EncapsulatedBase(t, ti.BaseOptions{})
			derived := ti.Image{Base: &signed.Base, Layers: []ti.Layer{{Members: []ti.Member{ti.File("usr/derived", 0o644, "not signed")}}}}.Write(t, t.TempDir(), "latest")
			remotes := func(t *testing.T) (*ostree.Repo, string) {
				t.Helper()
				repo, dir := newRepo(t, modeHere())
				ti.Run(t, "ostree", "--repo="+dir, "remote", "add", "--no-gpg-verify", "--sign-verify="+good.kind+"=inline:"+good.public, "good", "file:///nowhere")
				require.NoError(t, repo.ReloadConfig(t.Context()))
				return repo, dir
			}
			for name, image := range map[string]string{"signed": signed.Ref, "by two keys": twice.Ref} {
				t.Run(name, func(t *testing.T) {
					repo, dir := remotes(t)
					state, err := pullThrough(t, repo, "good", image)
					require.NoError(t, err)
					assert.NotEmpty(t, state.VerifyText)
					state, err = pullThrough(t, repo, "good", image)
					require.NoError(t, err)
					assert.NotEmpty(t, state.VerifyText, "when it is there already")
					oracle.Fsck(t, dir)
				})
			}
			t.Run("layers on top", func(t *testing.T) {
				repo, dir := remotes(t)
				state, err := pullThrough(t, repo, "good", derived.Ref)
				require.NoError(t, err)
				assert.Equal(t, signed.Commit, state.BaseCommit, "what was verified is the base")
				assert.NotEqual(t, state.BaseCommit, state.MergeCommit)
				assert.NotEmpty(t, state.VerifyText)
				assert.Contains(t, ti.Run(t, "ostree", "--repo="+dir, "ls", "-R", state.MergeCommit), "/usr/derived", "a derived layer is not covered by the signature, and taken")
			})
			bad := map[string]string{"another key": otherSigned.Ref, "unsigned": unsigned.Ref}
			if kind != "dummy" { // whose signatures say nothing about the commit
				bad["tampered"] = tampered(t, signed)
			}
			for name, image := range bad {
				t.Run(name, func(t *testing.T) {
					repo, dir := remotes(t)
					before := everything(t, dir)
					_, err := pullThrough(t, repo, "good", image)
					require.Error(t, err)
					assert.ErrorContains(t, err, image)
					assert.Equal(t, before, everything(t, dir), "nothing is written")
					nothingVisible(t, dir)
				})
			}
			t.Run("unsigned base is there already", func(t *testing.T) {
				repo, dir := remotes(t)
				mustPull(t, repo, otherSigned.Ref, container.ImporterOptions{})
				before := oracle.Refs(t, dir)
				_, err := pullThrough(t, repo, "good", otherSigned.Ref)
				require.Error(t, err)
				assert.Equal(t, before, oracle.Refs(t, dir))
			})
		})
	}
	t.Run("a kind that libostree does not have", func(t *testing.T) {
		signed := ti.EncapsulatedBase(t, ti.BaseOptions{})
		repo, dir := newRepo(t, modeHere())
		require.NoError(t, appendFile(filepath.Join(dir, "config"), "[remote \"good\"]\nurl=file:///nowhere\ngpg-verify=false\nsign-verify=quantum\nverification-quantum-key=x\n"))
		require.NoError(t, repo.ReloadConfig(t.Context()))
		before := everything(t, dir)
		_, err := pullThrough(t, repo, "good", signed.Ref)
		require.Error(t, err)
		assert.Equal(t, before, everything(t, dir))
	})
	t.Run("a remote that asks for nothing", func(t *testing.T) {
		signed := ti.EncapsulatedBase(t, ti.BaseOptions{})
		repo, dir := newRepo(t, modeHere())
		ti.Run(t, "ostree", "--repo="+dir, "remote", "add", "--no-gpg-verify", "lax", "file:///nowhere")
		require.NoError(t, repo.ReloadConfig(t.Context()))
		before := everything(t, dir)
		_, err := pullThrough(t, repo, "lax", signed.Ref)
		require.Error(t, err, "a reference that asks for a signature is not satisfied by a remote that checks none")
		assert.Equal(t, before, everything(t, dir))
	})
}

// A gpg signature of one commit is none of another.
func TestRemoteSignatureOfAnotherCommit(t *testing.T) {
	home, id, public := gpgKey(t, "good")
	signed := ti.EncapsulatedBase(t, ti.BaseOptions{Sign: func(repo, commit string) {
		ti.Run(t, "ostree", "gpg-sign", "--repo="+repo, "--gpg-homedir="+home, commit, id)
	}})
	repo, dir := newRepo(t, modeHere())
	ti.Run(t, "ostree", "--repo="+dir, "remote", "add", "--gpg-import="+public, "good", "file:///nowhere")
	require.NoError(t, repo.ReloadConfig(t.Context()))
	before := everything(t, dir)
	_, err := pullThrough(t, repo, "good", tampered(t, signed))
	require.Error(t, err)
	assert.ErrorContains(t, err, "BAD signature")
	assert.Equal(t, before, everything(t, dir), "nothing is written")
}

func appendFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// tampered is a signed image with another commit, under the signature of the right one.
func tampered(t *testing.T, signed *ti.EncapsulatedImage) string {
	t.Helper()
	// The commit of another tree, with the detached signature of the signed one.
	other := ti.EncapsulatedBase(t, ti.BaseOptions{Subject: "tampered", Sign: func(otherRepo, commit string) {
		from := filepath.Join(signed.Repo, "objects", signed.Commit[:2], signed.Commit[2:]+".commitmeta")
		data, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NotEmpty(t, bytes.TrimSpace(data))
		require.NoError(t, os.WriteFile(filepath.Join(otherRepo, "objects", commit[:2], commit[2:]+".commitmeta"), data, 0o644))
	}})
	return other.Ref
}
