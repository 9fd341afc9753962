package ostree_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestPullLocal(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	src, dst := newRepo(t, ostree.ModeBareUser), newRepo(t, ostree.ModeArchive)
	first := judgeCommit(t, src.Path(), "main", writeTree(t, map[string]string{"a": "1"}))
	second := judgeCommit(t, src.Path(), "main", writeTree(t, map[string]string{"a": "2"}))
	other := judgeCommit(t, src.Path(), "other", writeTree(t, sample))
	require.NoError(t, dst.PullLocal(ctx, src.Path(), []string{"main"}, nil))
	refs, err := dst.ListRefs(ctx, "")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"main": second}, refs)
	ok, err := dst.HasObject(ctx, ostree.ObjectCommit, first)
	require.NoError(t, err)
	assert.False(t, ok)
	fsck(t, dst)

	require.NoError(t, dst.PullLocal(ctx, src.Path(), nil, &ostree.PullOptions{Depth: -1, OverrideRemoteName: "origin", Flags: ostree.PullUntrusted}))
	refs, err = dst.ListRefs(ctx, "")
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"main": second, "origin:main": second, "origin:other": other}, refs)
	ok, err = dst.HasObject(ctx, ostree.ObjectCommit, first)
	require.NoError(t, err)
	assert.True(t, ok)
	fsck(t, dst)

	require.ErrorIs(t, dst.PullLocal(ctx, filepath.Join(t.TempDir(), "none"), []string{"main"}, nil), ostree.ErrNotFound)
	require.Error(t, dst.PullLocal(ctx, src.Path(), []string{"nope"}, nil))
	require.ErrorIs(t, dst.PullLocal(ctx, src.Path(), nil, &ostree.PullOptions{Depth: -2}), ostree.ErrInvalidArgument)
	yes := true
	for name, opts := range map[string]*ostree.PullOptions{"commits": {GPGVerify: &yes}, "summary": {GPGVerifySummary: &yes}} {
		require.ErrorContains(t, dst.PullLocal(ctx, src.Path(), []string{"main"}, opts), "Must specify remote name", name)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, dst.PullLocal(cancelled, src.Path(), []string{"main"}, nil), context.Canceled)
}

// Several pulls at once do not run each other's main contexts.
func TestPullConcurrent(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	src := newRepo(t, ostree.ModeArchive)
	want := judgeCommit(t, src.Path(), "main", writeTree(t, sample))
	errs := make(chan error)
	for range 4 {
		dst := newRepo(t, ostree.ModeArchive)
		go func() {
			n := 0
			err := dst.Pull(ctx, "file://"+src.Path(), []string{"main"}, &ostree.PullOptions{
				GPGVerify: new(bool), Progress: func(ostree.PullProgress) { n++ },
			})
			if err == nil {
				_, err = dst.ResolveRev(ctx, want)
			}
			errs <- err
		}()
	}
	for range 4 {
		require.NoError(t, <-errs)
	}
}

func TestRemotes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	assert.Empty(t, r.Remotes())
	opts, err := ostree.NewVariantDict().SetBool("gpg-verify", false).SetString("branches", "x;y;").Build()
	require.NoError(t, err)
	require.NoError(t, r.RemoteAdd(ctx, "origin", "https://example.com/repo", opts))
	require.NoError(t, r.RemoteAdd(ctx, "signed", "https://example.com/other", nil))
	assert.ElementsMatch(t, []string{"origin", "signed"}, r.Remotes())
	assert.Equal(t, "https://example.com/repo\n", judge(t, "remote", "show-url", "origin", "--repo", r.Path()))
	url, err := r.RemoteURL("origin")
	require.NoError(t, err)
	assert.Equal(t, "https://example.com/repo", url)
	verify, err := r.RemoteGPGVerify("origin")
	require.NoError(t, err)
	assert.False(t, verify)
	verify, err = r.RemoteGPGVerify("signed")
	require.NoError(t, err)
	assert.True(t, verify)
	list, err := r.RemoteConfigList("origin", "branches")
	require.NoError(t, err)
	assert.Equal(t, []string{"x", "y"}, list)
	s, err := r.RemoteConfig("origin", "nope")
	require.NoError(t, err)
	assert.Empty(t, s)
	b, err := r.RemoteConfigBool("origin", "nope", true)
	require.NoError(t, err)
	assert.True(t, b)
	require.Error(t, r.RemoteAdd(ctx, "origin", "https://example.com/repo", nil))
	_, err = r.RemoteURL("none")
	require.ErrorIs(t, err, ostree.ErrNotFound)
	require.ErrorIs(t, r.RemoteDelete(ctx, "none"), ostree.ErrNotFound)
	require.ErrorIs(t, r.RemoteDelete(ctx, ""), ostree.ErrInvalidArgument)
	require.NoError(t, r.RemoteDelete(ctx, "origin"))
	assert.Equal(t, []string{"signed"}, r.Remotes())
}

func TestSignatureVerifyCommitData(t *testing.T) {
	t.Parallel()
	_, err := exec.LookPath("gpg")
	need(t, "gpg", err == nil)
	ctx := t.Context()
	home, err := os.MkdirTemp("", "gpg") // a socket path is short
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	gpg := func(args ...string) []byte {
		cmd := exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--passphrase", ""}, args...)...)
		out, err := cmd.Output()
		require.NoError(t, err)
		return out
	}
	gpg("--quick-generate-key", "tester@example.com", "default", "default", "never")
	key := gpg("--export", "tester@example.com")

	r := newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	require.NoError(t, r.RemoteAdd(ctx, "origin", "https://example.com", nil))
	off, err := ostree.NewVariantDict().SetBool("gpg-verify", false).Build()
	require.NoError(t, err)
	require.NoError(t, r.RemoteAdd(ctx, "open", "https://example.com", off))
	commit, err := r.LoadVariantBytes(ctx, ostree.ObjectCommit, c)
	require.NoError(t, err)
	verify := func(remote string, commit, meta []byte) (string, error) {
		return r.SignatureVerifyCommitData(ctx, remote, commit, meta, ostree.VerifyAll)
	}
	_, err = verify("origin", commit, nil)
	require.ErrorContains(t, err, "without detached metadata")
	_, err = verify("origin", commit, []byte{})
	require.ErrorContains(t, err, "no signatures")

	require.NoError(t, r.SignCommitGPG(ctx, c, "tester@example.com", home))
	v, err := r.ReadDetachedMetadata(ctx, c)
	require.NoError(t, err)
	_, err = verify("origin", commit, v.Bytes())
	require.Error(t, err, "the key is not known")
	n, err := r.RemoteGPGImport(ctx, "origin", key, nil)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	text, err := verify("origin", commit, v.Bytes())
	require.NoError(t, err)
	assert.Contains(t, text, "Good signature from")
	assert.Contains(t, text, "tester@example.com")

	bad := append([]byte{}, commit...)
	bad[len(bad)-1] ^= 1
	_, err = verify("origin", bad, v.Bytes())
	require.ErrorContains(t, err, "BAD signature")
	_, err = verify("open", commit, v.Bytes())
	require.ErrorContains(t, err, "GPG verification disabled")
	_, err = verify("none", commit, v.Bytes())
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = r.SignatureVerifyCommitData(ctx, "origin", commit, v.Bytes(), ostree.VerifyNoGPG|ostree.VerifyNoSignAPI)
	require.Error(t, err)
}

func TestPrune(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	first := judgeCommit(t, r.Path(), "main", writeTree(t, map[string]string{"f": "1"}))
	second := judgeCommit(t, r.Path(), "main", writeTree(t, map[string]string{"f": "2"}))
	all, err := r.ListObjects(ctx)
	require.NoError(t, err)
	assert.Len(t, all, 7) // twice commit, tree and file; one dirmeta
	set := ostree.NewReachableSet()
	require.NoError(t, r.TraverseReachableRefs(ctx, 0, set))
	assert.Equal(t, 4, set.Len())
	assert.True(t, set.Contains(ostree.ObjectName{Checksum: second, Type: ostree.ObjectCommit}))
	assert.False(t, set.Contains(ostree.ObjectName{Checksum: first, Type: ostree.ObjectCommit}))
	require.NoError(t, set.Add(ostree.ObjectName{Checksum: first, Type: ostree.ObjectCommit}))
	require.ErrorIs(t, set.Add(ostree.ObjectName{Checksum: "x", Type: ostree.ObjectCommit}), ostree.ErrInvalidArgument)
	assert.Len(t, set.Objects(), 5)

	stats, err := r.Prune(ctx, ostree.PruneRefsOnly|ostree.PruneNoPrune, 0)
	require.NoError(t, err)
	assert.Equal(t, 3, stats.Pruned)
	assert.Equal(t, 7, stats.Total)
	stats, err = r.Prune(ctx, ostree.PruneRefsOnly, -1)
	require.NoError(t, err)
	assert.Zero(t, stats.Pruned)
	stats, err = r.PruneFromReachable(ctx, 0, set)
	require.NoError(t, err)
	assert.Equal(t, 2, stats.Pruned)
	assert.Positive(t, stats.Size)
	_, err = r.PruneFromReachable(ctx, 0, nil)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = r.Prune(ctx, 0, -2)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	require.NoError(t, r.PruneStaticDeltas(ctx, ""))
	require.NoError(t, r.DeleteObject(ctx, ostree.ObjectCommit, first))
	require.ErrorIs(t, r.DeleteObject(ctx, ostree.ObjectCommit, first), ostree.ErrNotFound)
	fsck(t, r)

	got, _, err := r.LoadCommit(ctx, second)
	require.NoError(t, err)
	path := filepath.Join(r.Path(), "objects", got.RootTree[:2], got.RootTree[2:]+".dirtree")
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(b), "f", "g", 1)), 0o644))
	require.ErrorContains(t, r.FsckObject(ctx, ostree.ObjectDirTree, got.RootTree), "Corrupted dirtree object")
	size, err := r.ObjectStorageSize(ctx, ostree.ObjectDirTree, got.RootTree)
	require.NoError(t, err)
	assert.Equal(t, uint64(len(b)), size)
}

func TestImportObjectFrom(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	src, dst := newRepo(t, ostree.ModeArchive), newRepo(t, ostree.ModeBareUser)
	sum, err := src.WriteSymlink(ctx, "", 0, 0, nil, "t")
	require.NoError(t, err)
	require.NoError(t, dst.ImportObjectFrom(ctx, src, ostree.ObjectFile, sum, ostree.Verify))
	require.NoError(t, dst.FsckObject(ctx, ostree.ObjectFile, sum))
	require.ErrorIs(t, dst.ImportObjectFrom(ctx, src, ostree.ObjectFile, noSum, ostree.Trusted), ostree.ErrNotFound)
}
