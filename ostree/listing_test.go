package ostree_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

func TestListing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	a := judgeCommit(t, r.Path(), "a", writeTree(t, map[string]string{"x": "1", "dir/y": "2", "dir/sub/z": "3", "link": "-> x"}))
	b := judgeCommit(t, r.Path(), "b", writeTree(t, map[string]string{"x": "1"}))
	all, err := r.CommitsStartingWith(ctx, "")
	require.NoError(t, err)
	want := []string{a, b}
	slices.Sort(want)
	assert.Equal(t, want, all)
	some, err := r.CommitsStartingWith(ctx, a[:9])
	require.NoError(t, err)
	assert.Equal(t, []string{a}, some)
	_, err = r.CommitsStartingWith(ctx, "xyz")
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)

	v, err := r.LoadVariantIfExists(ctx, ostree.ObjectCommit, a)
	require.NoError(t, err)
	assert.Equal(t, ostree.ObjectCommit.VariantType(), v.TypeString())
	v, err = r.LoadVariantIfExists(ctx, ostree.ObjectCommit, noSum)
	require.NoError(t, err)
	assert.Nil(t, v)

	root, err := r.RootEntry(ctx, a)
	require.NoError(t, err)
	commit, _, err := r.LoadCommit(ctx, a)
	require.NoError(t, err)
	assert.Equal(t, ostree.TreeEntry{IsDir: true, Checksum: commit.RootTree, Meta: commit.RootMeta}, root)
	var names []string
	for e, err := range r.DirEntries(ctx, root.Checksum) {
		require.NoError(t, err)
		names = append(names, e.Name)
		if e.IsDir {
			assert.Len(t, e.Meta, 64)
			continue
		}
		// The stream is what the checksum is of.
		in, size, err := r.LoadObjectStream(ctx, ostree.ObjectFile, e.Checksum)
		require.NoError(t, err)
		data, err := io.ReadAll(in)
		require.NoError(t, err)
		require.NoError(t, in.Close())
		assert.Len(t, data, int(size))
		sum := sha256.Sum256(data)
		assert.Equal(t, e.Checksum, hex.EncodeToString(sum[:]))
	}
	assert.Equal(t, []string{"link", "x", "dir"}, names)
	for range r.DirEntries(ctx, root.Checksum) {
		break
	}
	in, size, err := r.LoadObjectStream(ctx, ostree.ObjectCommit, a)
	require.NoError(t, err)
	data, err := io.ReadAll(in)
	require.NoError(t, err)
	require.NoError(t, in.Close())
	assert.Len(t, data, int(size))
	sum := sha256.Sum256(data)
	assert.Equal(t, a, hex.EncodeToString(sum[:]))
	_, _, err = r.LoadObjectStream(ctx, ostree.ObjectFile, noSum)
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, _, err = r.LoadObjectStream(ctx, ostree.ObjectFileXattrs, noSum)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	n := 0
	for _, err := range r.DirEntries(ctx, noSum) {
		require.ErrorIs(t, err, ostree.ErrNotFound)
		n++
	}
	assert.Equal(t, 1, n)
	_, err = r.RootEntry(ctx, noSum)
	require.ErrorIs(t, err, ostree.ErrNotFound)
}

func TestTraverseWithParents(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	a := judgeCommit(t, r.Path(), "a", writeTree(t, map[string]string{"x": "1", "dir/y": "2"}))
	b := judgeCommit(t, r.Path(), "b", writeTree(t, map[string]string{"x": "1", "z": "3"}))
	set, err := r.TraverseCommit(ctx, a, 0)
	require.NoError(t, err)
	assert.Equal(t, 6, set.Len()) // commit, two dirtrees, one dirmeta, two files
	_, err = r.TraverseCommit(ctx, a, -2)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)

	set, parents := ostree.NewReachableSet(), ostree.NewObjectParents()
	for _, c := range []string{a, b} {
		require.NoError(t, r.TraverseCommitWithParents(ctx, c, -1, ostree.TraverseAll, set, parents))
	}
	file := func(commit, name string) ostree.ObjectName {
		c, _, err := r.LoadCommit(ctx, commit)
		require.NoError(t, err)
		e, err := r.LookupPath(ctx, c.RootTree, name)
		require.NoError(t, err)
		return ostree.ObjectName{Checksum: e.Checksum, Type: ostree.ObjectFile}
	}
	both := []string{a, b}
	slices.Sort(both)
	for name, want := range map[ostree.ObjectName][]string{
		file(a, "x"): both, file(a, "dir/y"): {a}, file(b, "z"): {b},
		{Checksum: a, Type: ostree.ObjectCommit}: {a},
	} {
		got, err := parents.Commits(name)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	got, err := parents.Commits(ostree.ObjectName{Checksum: noSum, Type: ostree.ObjectFile})
	require.NoError(t, err)
	assert.Empty(t, got)
	_, err = parents.Commits(ostree.ObjectName{Checksum: "x", Type: ostree.ObjectFile})
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)

	only := ostree.NewReachableSet()
	require.NoError(t, r.TraverseCommitWithParents(ctx, a, 0, ostree.TraverseCommitsOnly, only, nil))
	assert.Equal(t, []ostree.ObjectName{{Checksum: a, Type: ostree.ObjectCommit}}, only.Objects())
}

func TestOpenRepoAt(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir := t.TempDir()
	d, err := os.Open(dir)
	require.NoError(t, err)
	defer d.Close()
	made, err := ostree.CreateRepoAt(ctx, int(d.Fd()), "repo", ostree.ModeBareUser, nil)
	require.NoError(t, err)
	defer made.Close()
	assert.Equal(t, ostree.ModeBareUser, made.Mode())
	again, err := ostree.OpenRepoAt(ctx, int(d.Fd()), "repo")
	require.NoError(t, err)
	defer again.Close()
	assert.True(t, again.Equal(made))
	assert.Equal(t, made.Hash(), again.Hash())
	assert.NotZero(t, made.Hash())
	other := newRepo(t, ostree.ModeArchive)
	assert.NotEqual(t, made.Hash(), other.Hash())
	_, err = ostree.OpenRepoAt(ctx, int(d.Fd()), "none")
	require.ErrorIs(t, err, ostree.ErrNotFound)
	_, err = ostree.OpenRepoAt(ctx, int(d.Fd()), "")
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	_, err = ostree.CreateRepoAt(ctx, int(d.Fd()), "r", ostree.Mode(99), nil)
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	assert.Contains(t, made.DefaultFinders(), "config")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "cache"), 0o755))
	require.NoError(t, made.SetCacheDir(ctx, int(d.Fd()), "cache"))
	require.ErrorIs(t, made.SetCacheDir(ctx, int(d.Fd()), "none"), ostree.ErrNotFound)

	root := filepath.Join(dir, "root")
	remotes := filepath.Join(root, "etc/ostree/remotes.d")
	require.NoError(t, os.MkdirAll(remotes, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(remotes, "x.conf"), []byte("[remote \"x\"]\nurl=https://example.com\n"), 0o644))
	s, err := ostree.OpenRepoForSysroot(ctx, filepath.Join(dir, "repo"), root)
	require.NoError(t, err)
	defer s.Close()
	assert.Equal(t, []string{"x"}, s.Remotes())
	_, err = ostree.OpenRepoForSysroot(ctx, filepath.Join(dir, "none"), root)
	require.ErrorIs(t, err, ostree.ErrNotFound)
}

func TestOpenDefaultRepo(t *testing.T) {
	r := newRepo(t, ostree.ModeArchive)
	t.Setenv("OSTREE_REPO", r.Path())
	d, err := ostree.OpenDefaultRepo(t.Context())
	require.NoError(t, err)
	defer d.Close()
	assert.True(t, d.Equal(r))
	t.Setenv("OSTREE_REPO", filepath.Join(t.TempDir(), "none"))
	_, err = ostree.OpenDefaultRepo(t.Context())
	require.ErrorIs(t, err, ostree.ErrNotFound)
}

func TestParseMode(t *testing.T) {
	t.Parallel()
	for _, m := range []ostree.Mode{ostree.ModeBare, ostree.ModeArchive, ostree.ModeBareUser, ostree.ModeBareUserOnly, ostree.ModeBareSplitXattrs} {
		got, err := ostree.ParseMode(m.String())
		require.NoError(t, err)
		assert.Equal(t, m, got)
	}
	got, err := ostree.ParseMode("archive")
	require.NoError(t, err)
	assert.Equal(t, ostree.ModeArchive, got)
	for _, s := range []string{"", "nope", "bare\x00", strings.Repeat("b", 9999)} {
		_, err = ostree.ParseMode(s)
		require.ErrorIs(t, err, ostree.ErrInvalidArgument)
	}
}

func TestListRefsBelow(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, r.Path(), "os/x86/stable", writeTree(t, sample))
	judge(t, "refs", "--repo", r.Path(), "--create=os/arm/stable", c)
	require.NoError(t, r.SetRefImmediate(ctx, "origin", "os/x86/stable", c))
	for prefix, want := range map[string][]string{
		"os":            {"x86/stable", "arm/stable"},
		"os/x86":        {"stable"},
		"os/x86/stable": {"os/x86/stable"},
		"origin:os":     {"origin:x86/stable"},
		"none":          {},
		"":              {"os/x86/stable", "os/arm/stable", "origin:os/x86/stable"},
	} {
		refs, err := r.ListRefsBelow(ctx, prefix)
		require.NoError(t, err)
		names := []string{}
		for name, sum := range refs {
			assert.Equal(t, c, sum)
			names = append(names, name)
		}
		assert.ElementsMatch(t, want, names, prefix)
	}
	_, err := r.ListRefsBelow(ctx, "a\x00")
	require.ErrorIs(t, err, ostree.ErrInvalidArgument)
}

func TestObjectNameHash(t *testing.T) {
	t.Parallel()
	a := ostree.ObjectName{Checksum: noSum, Type: ostree.ObjectFile}
	b := ostree.ObjectName{Checksum: noSum, Type: ostree.ObjectCommit}
	same := ostree.ObjectName{Checksum: strings.Clone(noSum), Type: ostree.ObjectFile}
	assert.Equal(t, a.Hash(), same.Hash())
	assert.NotEqual(t, a.Hash(), b.Hash())
	assert.Zero(t, ostree.ObjectName{Checksum: "x"}.Hash())
}
